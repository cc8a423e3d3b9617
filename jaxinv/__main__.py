"""`python -m jaxinv` is the command line."""

from jaxinv.cli import main

main()

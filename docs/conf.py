"""The documentation: `make docs` builds it into docs/_build/html, warnings being errors."""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

import jaxinv

# Pages that run `jaxinv` run this environment's, eighty columns wide.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["COLUMNS"] = "80"
# Without colours: a terminal's buffer may break their codes, which the highlighter then refuses.
os.environ["TERM"] = "dumb"
sys.path.insert(0, str(Path(__file__).parent))  # the two extensions beside this file

project = "jaxinv"
author = "The jaxinv contributors"
project_copyright = f"{author}; Apache-2.0"
version = release = jaxinv.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "docstrings",
    "mathml",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

# The tutorial runs when it changes, and its outputs are kept beside the build.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "gfm"

autodoc_typehints = "none"  # docstrings say shapes and units
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autosummary_generate = False
add_module_names = False
default_role = "literal"
smartquotes = False
html_math_renderer = "mathml"

# Files of the repository that are pages here as well, and what their links are called here.
PAGES = {
    "docs/": "",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CITATION.cff": "../CITATION.cff",
    "benchmarks/README.md": "benchmarks.md",
    "results/": "../benchmarks/results/",
}


def links_to_pages(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Let an included file's links lead to pages instead of files."""
    for file, page in PAGES.items():
        content[0] = content[0].replace(f"]({file}", f"]({page}")


def setup(app: Sphinx) -> None:
    app.connect("include-read", links_to_pages)


html_theme = "furo"
html_title = "jaxinv"
html_static_path = ["_static"]
html_css_files = ["jaxinv.css"]
html_show_sourcelink = False

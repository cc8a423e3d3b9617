"""What is done with latents that have been found: another norm, or another preimage."""

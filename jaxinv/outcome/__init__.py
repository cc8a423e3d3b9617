"""What is said of each observation: status, latent, residual, and what the search did."""

"""What an observation leaves of a latent beyond its best value: modes, and draws of them all."""

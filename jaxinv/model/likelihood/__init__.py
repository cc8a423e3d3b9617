"""Noise models: the likelihood of an observation, entry by entry."""

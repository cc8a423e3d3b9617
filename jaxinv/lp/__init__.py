"""Batches of linear programs that share a matrix; knows nothing of networks."""

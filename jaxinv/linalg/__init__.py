"""Linear algebra of batches: norms, normal matrices, their factors."""

"""Affine maps without their shift: dense, convolutions, resampling; each kept as what it is."""

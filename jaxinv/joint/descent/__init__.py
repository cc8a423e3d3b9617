"""Runs from a starting point downhill: Levenberg-Marquardt, Gauss-Newton, gradient descent."""

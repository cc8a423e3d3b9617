"""All layers at once: methods that minimise the distance between G(z) and the observation."""

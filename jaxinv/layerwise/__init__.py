"""The paper's inversion: last layer first, each layer a least-squares or linear program."""

"""Train the demonstration model: a network that points at the opacities of synthetic chest phantoms."""

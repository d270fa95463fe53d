"""The demonstration model: synthetic chest phantoms in, a trained network that points at their opacities out."""

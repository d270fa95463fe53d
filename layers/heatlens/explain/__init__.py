"""Activations, gradients and logits to signed maps and predictions."""

"""Heatlens on PyTorch: compiling models, the reference explanations and the CUDA engine."""

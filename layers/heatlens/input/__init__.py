"""Image bytes to an 8-bit picture, and the picture to model input."""

"""Lambda events made from image files, for local development."""

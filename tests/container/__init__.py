"""The image, built and run on a Docker daemon; skipped with the reason where none answers."""

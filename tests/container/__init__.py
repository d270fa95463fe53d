"""Tests of the image on a Docker daemon; without one they are skipped with the reason."""

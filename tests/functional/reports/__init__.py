"""Situations that people report, each as a test that is named after it."""

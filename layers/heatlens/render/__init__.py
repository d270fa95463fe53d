"""Signed maps to colored pictures, and pictures to files."""

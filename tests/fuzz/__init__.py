"""Requests that nobody would think of, against a running server: `make fuzz`."""

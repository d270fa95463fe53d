"""Generated requests against a running server: `make fuzz`."""

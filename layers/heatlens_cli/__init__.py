"""The command line, `heatlens`."""

"""The deployed functions: one folder each, which adapts a protocol to the shared packages."""

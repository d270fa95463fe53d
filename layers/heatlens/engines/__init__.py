"""Run the compiled trunk and tail: the engine protocol, its implementations, and the machine's resources."""

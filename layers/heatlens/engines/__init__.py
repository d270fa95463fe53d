"""Run the compiled trunk and tail: the engine protocol, its implementations, and what the machine offers."""

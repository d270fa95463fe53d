"""Load what the user gives (a description, a checkpoint, an exported program) as a PyTorch network."""

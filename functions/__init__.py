"""The doors: one folder each, adapting its protocol to the core and back, nothing else."""

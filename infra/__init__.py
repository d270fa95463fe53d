"""Infrastructure and local tooling."""

"""Estimate what 1,000 heatmaps cost on AWS; layers/cost.md has the formulas."""

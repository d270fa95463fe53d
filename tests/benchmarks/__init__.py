"""Measure ratios, both sides in one run; these are no timed tests. `make bench-engine`."""

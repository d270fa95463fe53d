"""Measure a map: its regions, their outlines, and its faithfulness."""

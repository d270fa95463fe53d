"""Class activation heatmaps, compiled ahead of time: image bytes in, heatmap out."""

__version__ = "0.1.0"

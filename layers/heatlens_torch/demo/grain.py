"""Draw zero-mean image noise `[size, size]` that looks alike after resizing."""

from __future__ import annotations

import numpy as np
from PIL import Image

from heatlens_torch.demo.anatomy import Field

_CLOUD_GRID = 20
_GRAIN_GRID = 256
_CLOUD = (0.01, 0.03)
_GRAIN = (0.015, 0.04)
_PIXEL_GRAIN = 0.002


def grain(rng: np.random.Generator, size: int) -> Field:
    """Draw noise of three scales: clouds, grain, and a trace in every pixel.

    Clouds and grain live on fixed grids stretched over the image, so a 1024 px image that is reduced to 224 px keeps
    the strength it would have been drawn with at 224 px, and compresses well as PNG.

    Args:
        rng: stream of its own.
        size: side in pixels.

    Returns:
        Noise in parts of the image's range, [size, size].
    """
    strengths = rng.uniform(*_CLOUD), rng.uniform(*_GRAIN)
    noise = _stretched(rng, _CLOUD_GRID, size) * np.float32(strengths[0])
    noise += _stretched(rng, _GRAIN_GRID, size) * np.float32(strengths[1])
    noise += rng.standard_normal((size, size), dtype=np.float32) * np.float32(_PIXEL_GRAIN)
    return noise


def _stretched(rng: np.random.Generator, grid: int, size: int) -> Field:
    coarse = Image.fromarray(rng.standard_normal((grid, grid), dtype=np.float32))
    # Reducing as uploads are reduced: the sharper bicubic filter would leave small phantoms twice as rough.
    resampling = Image.Resampling.BILINEAR if size < grid else Image.Resampling.BICUBIC
    return np.asarray(coarse.resize((size, size), resampling))

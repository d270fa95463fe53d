"""The drawing of a map written out plainly in double precision, to compare the fast one with."""

import numpy as np
import numpy.typing as npt

from heatlens.render.color import table
from heatlens.types import WHOLE, Box, Colormap, Floats, Part

Array = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


def slow_levels(heat: Floats, size: tuple[int, int], box: Box, part: Part = WHOLE, *, outside: int = 0) -> Doubles:
    """Enlarge heat to levels at the picture's size, not rounded, `[H, W]`."""
    (width, height), (left, top, right, bottom) = size, box
    whole = np.full((height, width), float(outside))
    rows = weights(heat.shape[0], bottom - top, part[1], part[3])
    columns = weights(heat.shape[1], right - left, part[0], part[2])
    whole[top:bottom, left:right] = 255 * (rows @ heat.astype(np.float64) @ columns.T)
    return whole


def weights(cells: int, pixels: int, start: float, end: float) -> Doubles:
    """Return how much each cell counts in each pixel, `[pixels, cells]`.

    A cell's weight falls linearly with the distance of its center from the pixel's: to nothing in one cell, or in one
    pixel where a pixel is larger.
    """
    pixel = (end - start) * cells / pixels
    centers = start * cells + (np.arange(pixels) + 0.5) * pixel
    distance = np.abs(centers[:, None] - (np.arange(cells) + 0.5))
    raw = np.maximum(0, 1 - distance / max(1.0, pixel))
    normalized: Doubles = raw / raw.sum(axis=1, keepdims=True)
    return normalized


def slow_overlay(picture: Array, levels: Array, *, colormap: Colormap, alpha: float) -> Doubles:
    """Blend the colors of levels `[H, W]` over a picture `[H, W]` or `[H, W, 3]`, not rounded, `[H, W, 3]`."""
    colors = np.frombuffer(table(colormap), np.uint8).reshape(256, 3)[levels]
    original = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
    blended: Doubles = alpha * colors + (1 - alpha) * original.astype(np.float64)
    return blended

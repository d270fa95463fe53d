"""Enlarge heat [h,w] in 0..1 bilinearly to levels [H,W] of 0..255, a strip of rows at a time."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from heatlens.types import WHOLE, Floats, Part

LEVELS = 255
HALF = 0.5  # added before levels are truncated, so that they are rounded to nearest
_STRIP_PIXELS = 65_536  # what the stages make of a strip stays in the cache, and is reused from strip to strip


def strip_rows(width: int) -> int:
    """Return how many rows of a picture are drawn, filtered and compressed together."""
    return max(1, _STRIP_PIXELS // width)


@dataclass(frozen=True, slots=True)
class Enlarged:
    """Heat whose columns are enlarged already, and whose rows are enlarged as they are asked for.

    `levels` has `255 * heat + HALF` at the picture's columns, `[h, W]`, `steps` the difference to the row below. The
    picture's first row lies at the heat's row `first`, each further one `step` below.
    """

    levels: Floats
    steps: Floats
    first: float
    step: float

    def rows(self, top: int, bottom: int) -> Floats:
        """Compute the rows `top` to `bottom` of the picture, `[bottom - top, W]`; truncated they are its levels."""
        at = np.clip(self.first + self.step * np.arange(top, bottom), 0, len(self.levels) - 1)
        above = at.astype(np.intp)
        share = (at - above).astype(np.float32)[:, None]
        rows: Floats = self.steps[above]
        rows *= share
        rows += self.levels[above]
        return rows


def enlarge(heat: Floats, size: tuple[int, int], part: Part = WHOLE) -> Enlarged:
    """Enlarge the columns of a part of the heat, as Pillow does: half-pixel centers, the edge repeated.

    Args:
        heat: `[h, w]` in 0..1.
        size: Width and height of the picture.
        part: The part of the heat that the picture shows, as shares of its sides.
    """
    exact = Image.fromarray(heat * np.float32(LEVELS) + np.float32(HALF))
    (width, height), (left, top, right, bottom) = size, part
    left, top, right, bottom = left * exact.width, top * exact.height, right * exact.width, bottom * exact.height
    first, step = 0.0, 1.0
    if bottom - top > height:  # several rows of the heat are averaged to one
        exact = exact.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    else:
        step = (bottom - top) / height
        first = top + step / 2 - 0.5
        exact = exact.resize((width, exact.height), Image.Resampling.BILINEAR, box=(left, 0, right, exact.height))
    levels = np.asarray(exact, np.float32)
    return Enlarged(levels, np.diff(levels, axis=0, append=levels[-1:]), first, step)


def exact_levels(heat: Floats, size: tuple[int, int], part: Part = WHOLE) -> Floats:
    """Compute what is truncated to levels in a box of `size` (width, height): `255 * heat + HALF`, `[H, W]`."""
    width, height = size
    enlarged, levels = enlarge(heat, size, part), np.empty((height, width), np.float32)
    rows = strip_rows(width)
    for top in range(0, height, rows):
        levels[top : top + rows] = enlarged.rows(top, min(top + rows, height))
    return levels

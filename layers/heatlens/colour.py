"""Heat [h,w] in 0..1 at the layer's grid -> coloured map blended over the picture, at the picture's size."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from heatlens.types import Box, Colormap, Floats

LEVELS, HALF = 255, 0.5
_TABLES = Path(__file__).parent / "colormaps"


@cache
def table(name: Colormap) -> bytes:
    """The 256 RGB entries of a colormap, 768 bytes, equal to matplotlib's (infra/make_colormaps.py writes them)."""
    return (_TABLES / f"{name}.rgb").read_bytes()


def levels(heat: Floats, size: tuple[int, int], box: Box) -> Image.Image:
    """Heat as 8-bit levels at full size: bilinear inside `box`, 0 outside it, rounded to nearest.

    Args:
        heat: `[h, w]` in 0..1.
        size: Width and height of the picture.
        box: Where the model looked.
    """
    left, top, right, bottom = box
    inside = _exact(heat, (right - left, bottom - top)).convert("L")
    if inside.size == size:
        return inside
    outside = Image.new("L", size, 0)
    outside.paste(inside, (left, top))
    return outside


def exact_levels(heat: Floats, size: tuple[int, int]) -> Floats:
    """What `levels` truncates inside its box of `size` (width, height): `255 * heat + 0.5`, float32 `[H, W]`."""
    return np.asarray(_exact(heat, size), np.float32)


def _exact(heat: Floats, size: tuple[int, int]) -> Image.Image:
    # Pillow truncates when it converts to 8 bits; weights sum to 1, so a half added before makes that a rounding.
    return Image.fromarray(heat * np.float32(LEVELS) + np.float32(HALF)).resize(size, Image.Resampling.BILINEAR)


def overlay(picture: Image.Image, heat: Floats, box: Box, *, colormap: Colormap, alpha: float) -> Image.Image:
    """Blend: `alpha * colour(heat) + (1 - alpha) * original`, RGB at the picture's size, within 1 of 255."""
    indexed = levels(heat, picture.size, box)
    coloured = Image.frombytes("P", indexed.size, indexed.tobytes())
    coloured.putpalette(table(colormap))
    return Image.blend(picture.convert("RGB"), coloured.convert("RGB"), alpha)

"""Heat [h,w] in 0..1 at the layer's grid -> coloured map blended over the picture, at the picture's size."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from heatlens.types import Box, Colormap, Floats

LEVELS, HALF = 255, 0.5
_TABLES = Path(__file__).parent / "colormaps"
SIGNED: frozenset[Colormap] = frozenset({"coolwarm", "seismic"})  # their middle means no evidence
_NO_HEAT, _MIDDLE = 0, 128


@cache
def table(name: Colormap) -> bytes:
    """The 256 RGB entries of a colormap, 768 bytes, equal to matplotlib's (infra/make_colormaps.py writes them)."""
    return (_TABLES / f"{name}.rgb").read_bytes()


def levels(heat: Floats, size: tuple[int, int], box: Box, *, outside: int = _NO_HEAT) -> Image.Image:
    """Heat as 8-bit levels at full size: bilinear inside `box`, rounded to nearest.

    Args:
        heat: `[h, w]` in 0..1.
        size: Width and height of the picture.
        box: Where the model looked.
        outside: The level elsewhere.
    """
    left, top, right, bottom = box
    inside = _exact(heat, (right - left, bottom - top)).convert("L")
    if inside.size == size:
        return inside
    whole = Image.new("L", size, outside)
    whole.paste(inside, (left, top))
    return whole


def coloured(heat: Floats, size: tuple[int, int], box: Box, *, colormap: Colormap) -> Image.Image:
    """The map alone, RGB at the picture's size; outside `box` it has the colour of no heat.

    Args:
        heat: `[h, w]` in 0..1: of a signed colormap `cam.signed`, of the others `cam.positive`.
        size: Width and height of the picture.
        box: Where the model looked.
        colormap: Its name.
    """
    indexed = levels(heat, size, box, outside=_MIDDLE if colormap in SIGNED else _NO_HEAT)
    in_colours = Image.frombytes("P", indexed.size, indexed.tobytes())
    in_colours.putpalette(table(colormap))
    return in_colours.convert("RGB")


def blend(picture: Image.Image, coloured_map: Image.Image, *, alpha: float) -> Image.Image:
    """`alpha * map + (1 - alpha) * picture`, RGB, within 1 of 255."""
    return Image.blend(picture.convert("RGB"), coloured_map, alpha)


def exact_levels(heat: Floats, size: tuple[int, int]) -> Floats:
    """What `levels` truncates inside its box of `size` (width, height): `255 * heat + 0.5`, float32 `[H, W]`."""
    return np.asarray(_exact(heat, size), np.float32)


def _exact(heat: Floats, size: tuple[int, int]) -> Image.Image:
    # Pillow truncates when it converts to 8 bits; weights sum to 1, so a half added before makes that a rounding.
    return Image.fromarray(heat * np.float32(LEVELS) + np.float32(HALF)).resize(size, Image.Resampling.BILINEAR)


def overlay(picture: Image.Image, heat: Floats, box: Box, *, colormap: Colormap, alpha: float) -> Image.Image:
    """The coloured map blended over the picture, at its size."""
    return blend(picture, coloured(heat, picture.size, box, colormap=colormap), alpha=alpha)

"""Color heat [h,w] in 0..1 at the picture's size, and blend it over the picture."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from heatlens.types import WHOLE, Box, Colormap, Floats, Part

LEVELS, HALF = 255, 0.5
_TABLES = Path(__file__).parent / "colormaps"
SIGNED: frozenset[Colormap] = frozenset({"coolwarm", "seismic"})  # their middle color means no evidence
_NO_HEAT, _MIDDLE = 0, 128


@cache
def table(name: Colormap) -> bytes:
    """Read the 256 RGB entries of a colormap, 768 bytes, equal to matplotlib's (see infra/make_colormaps.py)."""
    return (_TABLES / f"{name}.rgb").read_bytes()


def levels(
    heat: Floats, size: tuple[int, int], box: Box, part: Part = WHOLE, *, outside: int = _NO_HEAT
) -> Image.Image:
    """Enlarge heat to 8-bit levels at full size: bilinear inside `box`, rounded to nearest.

    Args:
        heat: `[h, w]` in 0..1.
        size: Width and height of the picture.
        box: The part that the model saw.
        part: The part of the heat that lies over the box; the rest lies over padding.
        outside: The level outside the box.
    """
    left, top, right, bottom = box
    inside = _exact(heat, (right - left, bottom - top), part).convert("L")
    if inside.size == size:
        return inside
    whole = Image.new("L", size, outside)
    whole.paste(inside, (left, top))
    return whole


def color_map(heat: Floats, size: tuple[int, int], box: Box, part: Part = WHOLE, *, colormap: Colormap) -> Image.Image:
    """Color the map alone, RGB at the picture's size; outside `box` it has the color of no heat.

    Args:
        heat: `[h, w]` in 0..1: for a signed colormap `cam.signed`, for the others `cam.positive`.
        size: Width and height of the picture.
        box: The part that the model saw.
        part: The part of the heat that lies over the box.
        colormap: Name of the colormap.
    """
    indexed = levels(heat, size, box, part, outside=_MIDDLE if colormap in SIGNED else _NO_HEAT)
    colored = Image.frombytes("P", indexed.size, indexed.tobytes())
    colored.putpalette(table(colormap))
    return colored.convert("RGB")


def blend(picture: Image.Image, colored_map: Image.Image, *, alpha: float) -> Image.Image:
    """Compute `alpha * map + (1 - alpha) * picture`, RGB, within 1 of 255."""
    return Image.blend(picture.convert("RGB"), colored_map, alpha)


def exact_levels(heat: Floats, size: tuple[int, int], part: Part = WHOLE) -> Floats:
    """Compute the values that `levels` truncates in a box of `size` (width, height): `255 * heat + 0.5`, `[H, W]`."""
    return np.asarray(_exact(heat, size, part), np.float32)


def _exact(heat: Floats, size: tuple[int, int], part: Part) -> Image.Image:
    # Pillow truncates when it converts to 8 bits; weights sum to 1, so adding a half before rounds to nearest.
    exact = Image.fromarray(heat * np.float32(LEVELS) + np.float32(HALF))
    if part == WHOLE:
        return exact.resize(size, Image.Resampling.BILINEAR)
    left, top, right, bottom = part
    inside = (left * exact.width, top * exact.height, right * exact.width, bottom * exact.height)
    return exact.resize(size, Image.Resampling.BILINEAR, box=inside)


def overlay(picture: Image.Image, heat: Floats, box: Box, *, colormap: Colormap, alpha: float) -> Image.Image:
    """Blend the colored map over the picture, at its size."""
    return blend(picture, color_map(heat, picture.size, box, colormap=colormap), alpha=alpha)

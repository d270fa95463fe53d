"""Color heat [h,w] in 0..1 at the picture's size, and blend it over the picture."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from heatlens.render.drawing import Drawing
from heatlens.render.enlarge import enlarge
from heatlens.types import WHOLE, Box, Colormap, Floats, Part

Levels = npt.NDArray[np.uint8]

_TABLES = Path(__file__).parent / "colormaps"
SIGNED: frozenset[Colormap] = frozenset({"coolwarm", "seismic"})  # their middle color means no evidence
_NO_HEAT, _MIDDLE = 0, 128


@cache
def table(name: Colormap) -> bytes:
    """Read the 256 RGB entries of a colormap, 768 bytes, equal to matplotlib's (see infra/make_colormaps.py)."""
    return (_TABLES / f"{name}.rgb").read_bytes()


def levels(
    heat: Floats, size: tuple[int, int], box: Box, part: Part = WHOLE, *, outside: int = _NO_HEAT
) -> Callable[[int, int], Levels]:
    """Enlarge heat to 8-bit levels at the picture's size: bilinear inside `box`, rounded to nearest.

    Args:
        heat: `[h, w]` in 0..1.
        size: Width and height of the picture.
        box: The part that the model saw.
        part: The part of the heat that lies over the box; the rest lies over padding.
        outside: The level outside the box.

    Returns:
        A function that computes the rows from one up to another, `[rows, W]`.
    """
    left, over, right, below = box
    enlarged = enlarge(heat, (right - left, below - over), part)

    def compute(top: int, bottom: int) -> Levels:
        strip = np.full((bottom - top, size[0]), outside, np.uint8)
        first, end = max(top, over), min(bottom, below)
        if first < end:
            strip[first - top : end - top, left:right] = enlarged.rows(first - over, end - over)
        return strip

    return compute


def color_map(heat: Floats, size: tuple[int, int], box: Box, part: Part = WHOLE, *, colormap: Colormap) -> Drawing:
    """Color the map alone, RGB at the picture's size; outside `box` it has the color of no heat.

    Args:
        heat: `[h, w]` in 0..1: for a signed colormap `cam.signed`, for the others `cam.positive`.
        size: Width and height of the picture.
        box: The part that the model saw.
        part: The part of the heat that lies over the box.
        colormap: Name of the colormap.
    """
    compute = levels(heat, size, box, part, outside=_MIDDLE if colormap in SIGNED else _NO_HEAT)
    colors = _four_bytes(colormap)

    def draw(top: int, bottom: int) -> Image.Image:
        colored = colors.take(compute(top, bottom), mode="clip")  # all 256 are there: checking them costs as much again
        return Image.frombytes("RGB", (size[0], bottom - top), colored, "raw", "RGBX")

    return Drawing(size, "RGB", draw)


def blend(picture: Image.Image, colored_map: Drawing, *, alpha: float) -> Drawing:
    """Compute `alpha * map + (1 - alpha) * picture`, RGB, within 1 of 255."""

    def draw(top: int, bottom: int) -> Image.Image:
        strip = picture.crop((0, top, picture.width, bottom))
        return Image.blend(_rgb(strip), colored_map.draw(top, bottom), alpha)

    return Drawing(picture.size, "RGB", draw)


def overlay(picture: Image.Image, heat: Floats, box: Box, *, colormap: Colormap, alpha: float) -> Image.Image:
    """Blend the colored map over the picture, at its size."""
    return blend(picture, color_map(heat, picture.size, box, colormap=colormap), alpha=alpha).whole()


@cache
def _four_bytes(name: Colormap) -> npt.NDArray[np.uint32]:
    """Return the entries of a colormap as Pillow keeps RGB: four bytes a pixel, of which the last is not used."""
    entries = np.zeros((256, 4), np.uint8)
    entries[:, :3] = np.frombuffer(table(name), np.uint8).reshape(256, 3)
    return entries.view(np.uint32)[:, 0].copy()


def _rgb(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", [image] * 3) if image.mode == "L" else image  # twice as fast as convert("RGB")

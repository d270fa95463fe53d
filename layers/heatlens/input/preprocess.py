"""Convert an upright picture to the model's input [3,H,W] as the card's torchvision transform does."""

import numpy as np
from PIL import Image

from heatlens.card import Preprocess
from heatlens.types import Box, Floats

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

# A very thin image would fill the memory when its shorter side is enlarged. Over this many pixels only the part that
# the crop keeps is resized, which differs in the last level along the crop's edge.
_LARGEST_RESIZED = 32_000_000


def preprocess(image: Image.Image, recipe: Preprocess) -> Floats:
    """Resize, crop, scale to 0..1 and normalize.

    Args:
        image: Mode `L` or `RGB`. Grayscale is resized as one channel and then repeated: the same values for a third
            of the work.
        recipe: The card's preprocessing.

    Returns:
        Float32 `[3, H, W]`, within 1e-6 of torchvision's Resize, CenterCrop, ToTensor, Normalize on the same image.
    """
    resized = _resize_and_crop(image, recipe)
    pixels = np.asarray(resized.convert("RGB"), dtype=np.float32) / np.float32(255)
    normalized = (pixels - np.asarray(recipe.mean, np.float32)) / np.asarray(recipe.std, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))


def seen_box(size: tuple[int, int], recipe: Preprocess) -> Box:
    """Compute the part of an image of `size` (width, height) that the model sees, to the nearest pixel, never empty."""
    if recipe.crop is None:
        return (0, 0, *size)
    resized = _resized(size, recipe)
    left, top, right, bottom = _in_original(_crop(resized, recipe.crop), size, resized)
    first, last = _whole_span(left, right, size[0])
    upper, lower = _whole_span(top, bottom, size[1])
    return first, upper, last, lower


def _resize_and_crop(image: Image.Image, recipe: Preprocess) -> Image.Image:
    size = _resized(image.size, recipe)
    resampling = _RESAMPLING[recipe.interpolation]
    if recipe.crop is None:
        return image.resize(size, resampling)
    box = _crop(size, recipe.crop)
    if size[0] * size[1] > _LARGEST_RESIZED:
        return image.resize((recipe.crop[1], recipe.crop[0]), resampling, box=_in_original(box, image.size, size))
    return image.resize(size, resampling).crop(box)


def _in_original(box: Box, size: tuple[int, int], resized: tuple[int, int]) -> tuple[float, float, float, float]:
    across, down = size[0] / resized[0], size[1] / resized[1]
    return box[0] * across, box[1] * down, min(box[2] * across, size[0]), min(box[3] * down, size[1])


def _whole_span(start: float, stop: float, length: int) -> tuple[int, int]:
    first = min(round(start), length - 1)
    return first, max(round(stop), first + 1)


def _resized(size: tuple[int, int], recipe: Preprocess) -> tuple[int, int]:
    """Compute width and height after Resize; the longer side is truncated as torchvision does."""
    if not isinstance(recipe.resize, int):
        return recipe.resize[1], recipe.resize[0]
    width, height = size
    if width <= height:
        return recipe.resize, int(recipe.resize * height / width)
    return int(recipe.resize * width / height), recipe.resize


def _crop(size: tuple[int, int], crop: tuple[int, int]) -> Box:
    """Compute the box of torchvision's CenterCrop in an image of `size` (width, height)."""
    top = round((size[1] - crop[0]) / 2)
    left = round((size[0] - crop[1]) / 2)
    return left, top, left + crop[1], top + crop[0]

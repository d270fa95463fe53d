"""Compute the values of the model's input from its pixels [H,W,C]: the steps that move no pixel."""

from typing import Any

import numpy as np
import numpy.typing as npt

from heatlens.card import Preprocess
from heatlens.steps import Channels, Clip, Gray, Normalize, PerImage, Range, Scale, Step, Values
from heatlens.types import Floats

Pixels = npt.NDArray[Any]  # [H,W,C], 8-bit levels or float32; one channel may stand for all
LEVELS = 255
_LUMA, _HALF, _SHIFT = (19595, 38470, 7471), 0x8000, 16  # of Pillow's convert("L"), in 65536ths


def value_step(pixels: Pixels, step: Step, channels: int) -> Pixels:
    """Apply one step that computes values; others return the pixels as they are.

    Args:
        pixels: `[H,W,C]`, or one channel of equal ones.
        step: Of any kind.
        channels: How many channels the pixels stand for.
    """
    match step:
        case Values() if pixels.dtype == np.uint8:
            return _moved(_divided(pixels, LEVELS / (step.high - step.low)), step.low)
        case Scale():
            return _moved(_divided(pixels, 1 / step.factor), step.offset)
        case Range():
            return _moved(_divided(pixels, LEVELS / (step.high - step.low)), step.low)
        case Clip():
            return np.clip(pixels.astype(np.float32), np.float32(step.low), np.float32(step.high))
        case Normalize():
            return (pixels - np.asarray(step.mean, np.float32)) / np.asarray(step.std, np.float32)
        case PerImage():
            return per_image(pixels.astype(np.float32), step)
        case Channels():
            return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], channels))[..., list(step.indexes)])
        case Gray():
            return gray(pixels, step)
        case _:
            return pixels


def _divided(pixels: Pixels, by: float) -> Floats:
    divided: Floats = pixels.astype(np.float32) / np.float32(by)
    return divided


def _moved(values: Floats, offset: float) -> Floats:
    return values + np.float32(offset) if offset else values


def gray(pixels: Pixels, step: Gray) -> Pixels:
    """Make one channel `[H,W,1]`: of 8-bit levels without weights exactly as Pillow does."""
    weights = step.weights
    if weights is None:
        if pixels.shape[2] == 1:
            return pixels
        if pixels.dtype != np.uint8:
            return _weighted(pixels, tuple(part / 2**_SHIFT for part in _LUMA))
        levels = (pixels.astype(np.uint32) @ np.array(_LUMA, np.uint32) + np.uint32(_HALF)) >> np.uint32(_SHIFT)
        return levels.astype(np.uint8)[..., None]
    return _weighted(pixels, weights)


def _weighted(pixels: Pixels, weights: tuple[float, ...]) -> Floats:
    if pixels.shape[2] == 1:
        return pixels.astype(np.float32) * np.float32(sum(weights))
    summed = np.zeros(pixels.shape[:2], np.float32)
    for channel, weight in enumerate(weights):
        summed += pixels[..., channel] * np.float32(weight)
    return summed[..., None]


def per_image(values: Floats, step: PerImage) -> Floats:
    """Normalize by the values' own mean and deviation, or minimum and maximum; a flat image becomes 0."""
    axes = None if step.over == "image" else (0, 1)
    wide = values.astype(np.float64)
    if step.kind == "minmax":
        low, span = wide.min(axis=axes), np.ptp(wide, axis=axes)
        stretched: Floats = ((wide - low) / np.where(span > 0, span, 1)).astype(np.float32)
        return stretched
    mean, deviation = wide.mean(axis=axes), wide.std(axis=axes)
    least = np.maximum(deviation, step.least_std)
    standard: Floats = ((wide - mean) / np.where(least > 0, least, 1)).astype(np.float32)
    return standard


def channels_first(pixels: Pixels, channels: int) -> Floats:
    """Return the input `[C,H,W]`, float32; one channel is repeated."""
    whole = np.broadcast_to(pixels.astype(np.float32, copy=False), (*pixels.shape[:2], channels))
    return np.ascontiguousarray(whole.transpose(2, 0, 1))


def input_of(pixels: Pixels, recipe: Preprocess) -> Floats:
    """Compute the input `[C,H,W]` of pixels `[H,W,3]` that have the input's size already: no pixel is moved."""
    channels = pixels.shape[2]
    for step in recipe.all_steps:
        pixels = value_step(pixels, step, channels)
        channels = channels_after(step, channels)
    return channels_first(pixels, channels)


def channels_after(step: Step, channels: int) -> int:
    """Count the channels after a step."""
    match step:
        case Gray():
            return 1
        case Channels():
            return len(step.indexes)
        case _:
            return channels

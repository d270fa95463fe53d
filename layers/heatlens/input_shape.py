"""Check the order of a preprocessing's steps, and compute the shape that they lead to, the same for every image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from heatlens.steps import (
    COLORS,
    Channels,
    Clahe,
    Crop,
    Gray,
    Normalize,
    Pad,
    Range,
    Resize,
    Step,
    Values,
    Window,
    pair_of,
    resized_size,
)

NO_SHAPE = "resize by the shorter side needs a crop, or the input has no fixed shape"
NOT_WITHIN = "crop must lie within the resized image"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of an image between two steps: the least and the largest height and width, and its channels.

    `square` says that both sides are equal, `levels` that its values are gray levels, `deep` that they were never.
    """

    least: tuple[int, int] = (1, 1)
    most: tuple[float, float] = (math.inf, math.inf)
    channels: int = COLORS
    square: bool = False
    levels: bool = True
    deep: bool = False

    @property
    def fixed(self) -> tuple[int, int] | None:
        """Height and width, where every image has the same."""
        return self.least if self.least == self.most else None


def shape_after(steps: Sequence[Step]) -> Shape:
    """Check the order of the steps, and compute the shape that they lead to, the same for every image.

    Raises:
        ValueError: A step cannot stand where it does, or the shape would differ from image to image.
    """
    shape = Shape()
    for at, step in enumerate(steps):
        following = steps[at + 1] if at + 1 < len(steps) else None
        try:
            shape = _after(step, shape, following, first=at == 0)
        except ValueError as error:
            raise ValueError(f"step {at + 1} ({step.step}): {error}") from None
    if shape.fixed is None:
        raise ValueError("the input has no fixed shape: resize to an exact size, or crop or pad to one at the end")
    return shape


def _after(step: Step, shape: Shape, following: Step | None, *, first: bool) -> Shape:
    _check_place(step, shape, first=first)
    match step:
        case Values():
            return replace(shape, levels=False, deep=True)
        case Window() | Clahe():
            return shape
        case Resize():
            return _after_resize(step, shape, following)
        case Crop():
            return _after_crop(step, shape)
        case Pad():
            return _after_pad(step, shape, following)
        case Gray() | Channels():
            return _after_channels(step, shape)
        case _:
            return _after_values(step, shape)


def _check_place(step: Step, shape: Shape, *, first: bool) -> None:
    match step:
        case Window() | Values() if not first:
            raise ValueError("it is how a file is read: put it first")
        case Clahe() | Range() if shape.deep:
            raise ValueError("it works on gray levels, and values are none")
        case Resize() if shape.deep and step.rounded:
            raise ValueError("rounded: values are no gray levels")
        case Resize() | Clahe() | Gray() if not (shape.levels or shape.deep):
            raise ValueError("it works on gray levels: put it before scale, range, clip, normalize and per_image")


def _after_channels(step: Gray | Channels, shape: Shape) -> Shape:
    if isinstance(step, Channels):
        if max(step.indexes) >= shape.channels:
            raise ValueError(f"an image has no channel {max(step.indexes)} here: it has {_channels(shape.channels)}")
        return replace(shape, channels=len(step.indexes))
    if shape.channels != COLORS:
        raise ValueError(f"it makes one channel of three, and the image has {_channels(shape.channels)} here")
    return replace(shape, channels=1)


def _after_values(step: Step, shape: Shape) -> Shape:
    if isinstance(step, Normalize) and len(step.mean) not in (1, shape.channels):
        raise ValueError(f"it has {len(step.mean)} means for {_channels(shape.channels)}")
    if isinstance(step, Range) and not shape.levels:
        raise ValueError("it maps gray levels: put it before the steps that change them")
    return replace(shape, levels=False)


def _after_resize(step: Resize, shape: Shape, following: Step | None) -> Shape:
    height, width = step.pair
    fixed = shape.fixed
    if step.fit == "exact" or (shape.square and height == width):
        return replace(shape, least=(height, width), most=(height, width), square=height == width)
    if fixed is not None:
        height, width = resized_size(fixed, step)
        return replace(shape, least=(height, width), most=(height, width), square=height == width)
    if step.fit == "longest":
        return replace(shape, least=(1, 1), most=(height, width), square=False)
    if not isinstance(following, Crop) or following.size == "square":
        raise ValueError(NO_SHAPE)  # beside it, a very thin image would fill the memory
    return replace(shape, least=(height, width), most=(math.inf, math.inf), square=False)


def _after_crop(step: Crop, shape: Shape) -> Shape:
    if step.size == "square":
        if not (shape.levels or shape.deep):
            raise ValueError("a square crop stands before the steps that change gray levels")
        side, most = min(shape.least), min(shape.most)
        return replace(shape, least=(side, side), most=(most, most), square=True)
    height, width = pair_of(step.size)
    if height > shape.least[0] or width > shape.least[1]:
        raise ValueError(NOT_WITHIN)
    return replace(shape, least=(height, width), most=(height, width), square=height == width)


def _after_pad(step: Pad, shape: Shape, following: Step | None) -> Shape:
    if len(step.fills) not in (1, shape.channels):
        raise ValueError(f"fill has {len(step.fills)} numbers for {_channels(shape.channels)}")
    if step.size == "square":
        if shape.fixed is None and not isinstance(following, Resize):
            raise ValueError("after padding to a square comes its resize, or the input has no fixed shape")
        side, most = max(shape.least), max(shape.most)
        return replace(shape, least=(side, side), most=(most, most), square=True)
    height, width = pair_of(step.size)
    if height < shape.most[0] or width < shape.most[1]:
        raise ValueError("the image may be larger: resize it by its longer side before")
    return replace(shape, least=(height, width), most=(height, width), square=height == width)


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"

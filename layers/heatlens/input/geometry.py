"""Compute which part of the original each pixel of the model's input is of: through resizing, cropping and padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from heatlens.card import Preprocess
from heatlens.steps import Crop, Pad, Resize, Step, pair_of, resized_size
from heatlens.types import WHOLE, Box, Part

_ROUNDING = 1e-6  # of a pixel


@dataclass(frozen=True, slots=True)
class Seen:
    """What the model sees of an image.

    `box` is the part of the original, to the nearest pixel and never empty. `part` is where it lies in the model's
    input: left, top, right, bottom as shares of its width and height; the rest is padding.
    """

    box: Box
    part: Part = WHOLE


@dataclass(frozen=True, slots=True)
class Scaling:
    """Steps that are done at once, so that no picture between them is made: a margin, a new size, a crop."""

    resize: Resize
    pad: Pad | None = None
    crop: Crop | None = None

    @property
    def steps(self) -> Iterator[Step]:
        """The steps, in order."""
        return (step for step in (self.pad, self.resize, self.crop) if step is not None)


def stages(steps: Sequence[Step]) -> Iterator[Step | Scaling]:
    """Yield the steps, those around a resize together."""
    rest = list(steps)
    while rest:
        match rest:
            case [Pad() as pad, Resize() as resize, Crop() as crop, *rest]:
                yield Scaling(resize, pad, crop)
            case [Pad() as pad, Resize() as resize, *rest]:
                yield Scaling(resize, pad)
            case [Resize() as resize, Crop() as crop, *rest]:
                yield Scaling(resize, crop=crop)
            case [Resize() as resize, *rest]:
                yield Scaling(resize)
            case [step, *rest]:
                yield step


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a picture: `length` pixels, each of `scale` original ones, the first at `origin` (in its pixels)."""

    original: int
    length: int
    scale: float = 1.0
    origin: float = 0.0

    def resized(self, length: int) -> Self:
        """Return the axis with another number of pixels."""
        factor = self.length / length
        return replace(self, length=length, scale=self.scale * factor, origin=self.origin / factor)

    def moved(self, offset: int, length: int) -> Self:
        """Return the axis that starts `offset` pixels later; earlier where it is negative."""
        return replace(self, length=length, origin=self.origin + offset)

    def seen(self) -> tuple[int, int, float, float]:
        """Return the first original pixel, the one after the last, and the shares of the axis where these two lie."""
        start, stop = self.origin * self.scale, min((self.origin + self.length) * self.scale, self.original)
        first = min(max(round(start), 0), self.original - 1)
        last = max(round(stop), first + 1)
        end = self.original / self.scale - self.origin
        before = max(0.0, -self.origin / self.length)
        return first, last, before, 1.0 if end > self.length - _ROUNDING else end / self.length


def spans_after(size: tuple[int, int], steps: Sequence[Step]) -> tuple[Span, Span]:
    """Follow the rows and columns of an image of `size` (height, width) through the steps."""
    rows, columns = (Span(length, length) for length in size)
    for step in steps:
        if isinstance(step, Resize):
            height, width = resized_size((rows.length, columns.length), step)
            rows, columns = rows.resized(height), columns.resized(width)
        elif isinstance(step, Crop):
            height, width = cropped_size((rows.length, columns.length), step)
            rows = rows.moved(step.offset(rows.length, height), height)
            columns = columns.moved(step.offset(columns.length, width), width)
        elif isinstance(step, Pad):
            height, width = padded_size((rows.length, columns.length), step)
            rows = rows.moved(-step.offset(height - rows.length), height)
            columns = columns.moved(-step.offset(width - columns.length), width)
    return rows, columns


def cropped_size(size: tuple[int, int], step: Crop) -> tuple[int, int]:
    """Compute height and width of an image of `size` (height, width) after a crop."""
    return (min(size),) * 2 if step.size == "square" else pair_of(step.size)


def padded_size(size: tuple[int, int], step: Pad) -> tuple[int, int]:
    """Compute height and width of an image of `size` (height, width) after a pad."""
    return (max(size),) * 2 if step.size == "square" else pair_of(step.size)


def view_of(size: tuple[int, int], recipe: Preprocess) -> Seen:
    """Compute what the model sees of an image of `size` (width, height)."""
    rows, columns = spans_after((size[1], size[0]), recipe.all_steps)
    upper, lower, above, below = rows.seen()
    left, right, before, behind = columns.seen()
    return Seen((left, upper, right, lower), (before, above, behind, below))

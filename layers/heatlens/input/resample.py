"""Resize pixels [H,W,C] as Pillow, OpenCV, scikit-image and torchvision do on arrays, without these libraries.

Each of them computes a new pixel as a weighted sum of old ones, for rows and columns apart. What differs are the
weights, and whether sums are rounded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatlens.steps import Interpolation, Resize
from heatlens.types import Floats
from heatlens.values import Pixels

Places = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
Filter = Callable[[Weights], Weights]

_BAND_VALUES = 1_000_000
_LARGEST = 255
_LARGEST_BETWEEN = 32_000_000  # values between columns and rows, of a very thin image
_TRUNCATE = 4.0  # standard deviations that scikit-image's Gaussian reaches
_FIXED_POINT = 2048  # parts of a weight of OpenCV's, of 8-bit images
_TENSOR_CUBIC, _IMAGE_CUBIC = -0.75, -0.5  # the parameter of the cubic: of tensors and OpenCV; of Pillow


@dataclass(frozen=True, slots=True)
class Line:
    """One axis: `length` source pixels after a margin of `before`, `padded` with both margins, resized to `out`.

    Of the result only the pixels from `first` to `stop`, exclusive, are computed.
    """

    length: int
    out: int
    first: int
    stop: int
    before: int = 0
    padded: int = 0

    @property
    def scale(self) -> float:
        """How many pixels become one."""
        return (self.padded or self.length) / self.out

    @property
    def growth(self) -> float:
        """How many pixels one becomes: OpenCV's number, whose rounding decides which pixel is the nearest."""
        return self.out / (self.padded or self.length)


@dataclass(frozen=True, slots=True)
class _Sums:
    """For each new pixel where its old ones start, and their weights `[new, taps]`."""

    starts: Places
    weights: Floats

    @property
    def rows(self) -> slice:
        """All old pixels that are needed."""
        return slice(int(self.starts.min()), int(self.starts.max()) + self.weights.shape[1])


def resample(pixels: Pixels, step: Resize, rows: Line, columns: Line, fill: tuple[float, ...] = (0.0,)) -> Pixels:
    """Resize pixels, with margins of `fill` that are never made.

    Args:
        pixels: `[H,W,C]`, 8-bit levels or float32.
        step: Its size and fit are in the lines already.
        rows: The vertical axis.
        columns: The horizontal axis.
        fill: The margins' value, or one for each channel.

    Returns:
        `[rows.stop - rows.first, columns.stop - columns.first, C]`, 8-bit levels where the step has whole ones.
    """
    shrinks = rows.scale >= 1 and columns.scale >= 1
    down, across = (_sums(line, step, shrinks=shrinks) for line in (rows, columns))
    beyond = np.asarray(fill if step.border is None else (step.border,), np.float32)
    is_plain = not (rows.padded or columns.padded or step.border is not None)
    if step.interpolation in ("nearest", "nearest-exact") and is_plain:
        return np.ascontiguousarray(pixels[down.starts][:, across.starts])
    shift = None if is_plain else beyond
    pixels = pixels[down.rows, across.rows]
    down, across = (
        _Sums(down.starts - down.rows.start, down.weights),
        _Sums(across.starts - across.rows.start, across.weights),
    )
    if _clips_between(step) and len(pixels) * len(across.starts) <= _LARGEST_BETWEEN:
        between = _sum_columns(pixels, across, shift, whole=False).clip(0, _LARGEST)
        return _sum_rows(between, down, shift, whole=step.whole)
    if len(pixels) * len(across.starts) <= pixels.shape[1] * len(down.starts):
        return _sum_rows(_sum_columns(pixels, across, shift, whole=False), down, shift, whole=step.whole)
    return _sum_columns(_sum_rows(pixels, down, shift, whole=False), across, shift, whole=step.whole)


def _clips_between(step: Resize) -> bool:
    """Tell whether the library keeps gray levels between columns and rows too, which matters where sums overshoot."""
    return step.whole and (
        step.library == "pillow" or (step.library == "torchvision" and step.interpolation == "bicubic")
    )


def _sum_columns(pixels: Pixels, sums: _Sums, shift: Floats | None, *, whole: bool) -> Pixels:
    """Sum along the second axis, in bands of rows."""
    height, width, channels = pixels.shape
    summed = np.empty((height, len(sums.starts), channels), np.uint8 if whole else np.float32)
    band = max(1, _BAND_VALUES // (width * channels))
    for top in range(0, height, band):
        part = pixels[top : top + band].swapaxes(0, 1)
        summed[top : top + band] = _sum_first(part, sums, shift, whole=whole).swapaxes(0, 1)
    return summed


def _sum_rows(pixels: Pixels, sums: _Sums, shift: Floats | None, *, whole: bool) -> Pixels:
    """Sum along the first axis, in bands of columns."""
    _, width, channels = pixels.shape
    summed = np.empty((len(sums.starts), width, channels), np.uint8 if whole else np.float32)
    band = max(1, _BAND_VALUES // (len(pixels) * channels))
    for left in range(0, width, band):
        summed[:, left : left + band] = _sum_first(pixels[:, left : left + band], sums, shift, whole=whole)
    return summed


def _sum_first(pixels: Pixels, sums: _Sums, shift: Floats | None, *, whole: bool) -> Pixels:
    """Sum along the first axis: old pixels `[N,M,C]` to new ones."""
    values = pixels.astype(np.float32)
    if shift is not None:
        values -= shift
    flat = values.reshape(len(values), -1)
    taps = sums.weights.shape[1]
    summed = np.empty((len(sums.starts), flat.shape[1]), np.float32)
    for new, start in enumerate(sums.starts.tolist()):
        np.dot(sums.weights[new], flat[start : start + taps], out=summed[new])
    shaped = summed.reshape(len(sums.starts), *pixels.shape[1:])
    if shift is not None:
        shaped += shift
    return np.rint(shaped).clip(0, _LARGEST).astype(np.uint8) if whole else shaped


# ------------------------------------------------------------------------------------------------------------- weights


def _sums(line: Line, step: Resize, *, shrinks: bool) -> _Sums:
    places, weights = _WEIGHTS[step.library](line, step, shrinks)
    return _gathered(places - line.before, weights, line.length)


def _gathered(places: Places, weights: Weights, length: int) -> _Sums:
    """Add up the weights of equal places, without those outside the source, whose value is the margin's."""
    weights = np.where((places >= 0) & (places < length), weights, 0)
    inside = np.clip(places, 0, length - 1)
    lowest = inside.min(axis=1)
    taps = int((inside.max(axis=1) - lowest).max()) + 1
    starts = np.minimum(lowest, length - taps)
    summed = np.zeros((len(places), taps))
    np.add.at(summed, (np.arange(len(places))[:, None], inside - starts[:, None]), weights)
    return _Sums(starts, summed.astype(np.float32))


def _centers(line: Line) -> Weights:
    """Return the new pixels' centers, in old pixels."""
    centers: Weights = (np.arange(line.first, line.stop, dtype=np.float64) + 0.5) * np.float64(line.scale)
    return centers


def _of_pillow(line: Line, step: Resize, _: bool) -> tuple[Places, Weights]:  # noqa: FBT001 - as all of them
    if step.interpolation == "nearest":  # steps are added one by one
        steps = np.full(line.stop, line.scale)
        steps[0] /= 2
        return _single(np.floor(np.cumsum(steps)[line.first :]), line)
    return _filtered(line, step.interpolation)


def _of_torchvision(line: Line, step: Resize, _: bool) -> tuple[Places, Weights]:  # noqa: FBT001
    if step.interpolation == "nearest":
        return _single(np.floor(np.arange(line.first, line.stop, dtype=np.float32) * np.float32(line.scale)), line)
    if step.interpolation == "nearest-exact":
        return _single(
            np.floor((np.arange(line.first, line.stop, dtype=np.float32) + 0.5) * np.float32(line.scale)), line
        )
    if step.antialias:
        return _filtered(line, step.interpolation)
    return _linear(line) if step.interpolation == "bilinear" else _cubic(line)


def _of_opencv(line: Line, step: Resize, shrinks: bool) -> tuple[Places, Weights]:  # noqa: FBT001
    if step.interpolation == "nearest":
        return _single(np.floor(np.arange(line.first, line.stop) * (1 / line.growth)), line)
    if step.interpolation == "bilinear":
        return _linear(line)
    if step.interpolation == "bicubic":
        return _cubic(line)
    if step.interpolation == "lanczos4":
        return _lanczos4(line, whole=step.whole)
    return _area(line) if shrinks else _enlarged_area(line)


def _of_scikit_image(line: Line, step: Resize, _: bool) -> tuple[Places, Weights]:  # noqa: FBT001
    """Blur by a Gaussian, then interpolate: both at once."""
    length = line.padded or line.length
    beyond = mirrored if step.border is None else _marked
    if step.interpolation == "nearest":
        return _single(np.floor(_centers(line)), line)
    at = _centers(line) - 0.5
    low = np.floor(at).astype(np.int64)
    share = at - low
    places, weights = beyond(np.stack([low, low + 1], axis=1), length), np.stack([1 - share, share], axis=1)
    sigma = max(0.0, (line.scale - 1) / 2)
    if not step.antialias or sigma == 0:
        return places, weights
    reach = int(_TRUNCATE * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    blur = np.exp(-0.5 * (steps / sigma) ** 2)
    blur /= blur.sum()
    outside = places < 0
    blurred = beyond(places[..., None] + steps, length)
    blurred[outside] = -1
    return blurred.reshape(len(places), -1), (weights[..., None] * blur).reshape(len(places), -1)


def mirrored(places: Places, length: int) -> Places:
    """Return places in 0..length of an image whose edges are mirrored, without repeating the edge itself."""
    if length == 1:
        return np.zeros_like(places)
    period = 2 * (length - 1)
    within = places % period
    return np.minimum(within, period - within)


def _marked(places: Places, length: int) -> Places:
    """Return the places, -1 outside the image."""
    return np.where((places >= 0) & (places < length), places, -1)


def _single(places: npt.NDArray[np.floating[Any]], line: Line) -> tuple[Places, Weights]:
    inside = np.clip(places.astype(np.int64), 0, (line.padded or line.length) - 1)[:, None]
    return inside, np.ones(inside.shape)


def _filtered(line: Line, interpolation: Interpolation) -> tuple[Places, Weights]:
    """Weigh by a filter that is widened by the scale where the image shrinks, as Pillow does."""
    support, weigh = _FILTERS[interpolation]
    wide = max(line.scale, 1.0)
    centers, length = _centers(line), line.padded or line.length
    low = np.maximum(np.trunc(centers - support * wide + 0.5), 0).astype(np.int64)
    high = np.minimum(np.trunc(centers + support * wide + 0.5), length).astype(np.int64)
    places = low[:, None] + np.arange(int((high - low).max()))
    weights: Weights = weigh((places - centers[:, None] + 0.5) / wide) * (places < high[:, None])
    return np.minimum(places, length - 1), weights / weights.sum(axis=1, keepdims=True)


def _linear(line: Line) -> tuple[Places, Weights]:
    length = line.padded or line.length
    at = np.clip(_centers(line) - 0.5, 0, length - 1)
    low = np.minimum(np.floor(at).astype(np.int64), length - 1)
    share = at - low
    return np.minimum(np.stack([low, low + 1], axis=1), length - 1), np.stack([1 - share, share], axis=1)


def _cubic(line: Line) -> tuple[Places, Weights]:
    at = _centers(line) - 0.5
    places = np.floor(at).astype(np.int64)[:, None] + np.arange(-1, 3)
    weights = _cubic_filter(places - at[:, None], _TENSOR_CUBIC)
    return np.clip(places, 0, (line.padded or line.length) - 1), weights


def _lanczos4(line: Line, *, whole: bool) -> tuple[Places, Weights]:
    """Weigh the four pixels on either side, in whole 2048ths where gray levels are whole."""
    at = (_centers(line) - 0.5).astype(np.float32)
    places = np.floor(at).astype(np.int64)[:, None] + np.arange(-3, 5)
    distances = places - at[:, None].astype(np.float64)
    weights = np.sinc(distances) * np.sinc(distances / 4)
    weights /= weights.sum(axis=1, keepdims=True)
    if whole:
        weights = np.rint(weights * _FIXED_POINT) / _FIXED_POINT
    return np.clip(places, 0, (line.padded or line.length) - 1), weights


def _area(line: Line) -> tuple[Places, Weights]:
    """Weigh each old pixel by how much of it the new one covers."""
    length = line.padded or line.length
    start = np.arange(line.first, line.stop) * line.scale
    stop = np.minimum(start + line.scale, length)
    low = np.floor(start).astype(np.int64)
    places = low[:, None] + np.arange(int((np.ceil(stop) - low).max()))
    weights = np.clip(np.minimum(places + 1, stop[:, None]) - np.maximum(places, start[:, None]), 0, None)
    return np.minimum(places, length - 1), weights / weights.sum(axis=1, keepdims=True)


def _enlarged_area(line: Line) -> tuple[Places, Weights]:
    """Interpolate only where a new pixel lies on an edge between two old ones."""
    length, new = line.padded or line.length, np.arange(line.first, line.stop)
    low = np.floor(new * (1 / line.growth)).astype(np.int64)
    share = ((new + 1) - (low + 1) * line.growth).astype(np.float32)
    share = np.where(share <= 0, 0, share - np.floor(share))
    share = np.where(low >= length - 1, 0, share)
    places = np.stack([low, low + 1], axis=1)
    return np.clip(places, 0, length - 1), np.stack([1 - share, share], axis=1)


def _cubic_filter(x: Weights, a: float) -> Weights:
    x = np.abs(x)
    near: Weights = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _hamming(x: Weights) -> Weights:
    return np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0.0)


_FILTERS: dict[Interpolation, tuple[float, Filter]] = {
    "box": (0.5, lambda x: np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)),
    "bilinear": (1.0, lambda x: np.clip(1 - np.abs(x), 0, None)),
    "hamming": (1.0, _hamming),
    "bicubic": (2.0, lambda x: _cubic_filter(x, _IMAGE_CUBIC)),
    "lanczos": (3.0, lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)),
}
_WEIGHTS: dict[str, Callable[[Line, Resize, bool], tuple[Places, Weights]]] = {
    "pillow": _of_pillow,
    "opencv": _of_opencv,
    "scikit-image": _of_scikit_image,
    "torchvision": _of_torchvision,
}

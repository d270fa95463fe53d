"""Equalize an image's contrast in tiles, limited, as OpenCV does (Zuiderveld, Graphics Gems IV, 1994)."""

import numpy as np
import numpy.typing as npt

from heatlens.input.resample import mirrored
from heatlens.steps import Clahe
from heatlens.types import Floats
from heatlens.values import Pixels

Levels = npt.NDArray[np.uint8]

BINS = 256
_BAND_VALUES = 1_000_000


def clahe(pixels: Pixels, step: Clahe) -> Levels:
    """Equalize each channel of `[H,W,C]`; values that are not whole levels are rounded."""
    levels = pixels if pixels.dtype == np.uint8 else np.rint(pixels).clip(0, BINS - 1).astype(np.uint8)
    return np.stack([_equalized(levels[..., channel], step) for channel in range(levels.shape[2])], axis=-1)


def _equalized(levels: Levels, step: Clahe) -> Levels:
    rows, columns = step.tiles
    height, width = _tile(levels.shape, step.tiles)
    tables = _tables(levels, step, height, width)
    (up, low, fall), (left, right, share) = (
        _between(length, side, count)
        for length, side, count in zip(levels.shape, (height, width), (rows, columns), strict=True)
    )
    equalized = np.empty_like(levels)
    band = max(1, _BAND_VALUES // levels.shape[1])
    for top in range(0, len(levels), band):
        at = slice(top, top + band)
        part, over, under = levels[at], up[at, None], low[at, None]
        above = tables[over, left, part] * (1 - share) + tables[over, right, part] * share
        below = tables[under, left, part] * (1 - share) + tables[under, right, part] * share
        equalized[at] = np.rint(above * (1 - fall[at, None]) + below * fall[at, None])
    return equalized


def _tile(shape: tuple[int, ...], tiles: tuple[int, int]) -> tuple[int, int]:
    """Compute height and width of a tile.

    Where a side is no multiple of its tiles OpenCV enlarges both sides, a multiple by a whole tile's pixels more.
    """
    (tall, wide), (rows, columns) = shape, tiles
    if tall % rows == 0 and wide % columns == 0:
        return tall // rows, wide // columns
    return tall // rows + 1, wide // columns + 1


def _tables(levels: Levels, step: Clahe, height: int, width: int) -> Floats:
    """Compute the new level of each level in each tile, `[rows, columns, 256]`.

    Tiles over the edge see the image mirrored there.
    """
    rows, columns = step.tiles
    down, across = (
        mirrored(np.arange(side * count), length)
        for side, count, length in ((height, rows, levels.shape[0]), (width, columns, levels.shape[1]))
    )
    area = height * width
    limit = max(1, int(step.clip_limit * area / BINS)) if step.clip_limit > 0 else 0
    tables = np.empty((rows, columns, BINS), np.float32)
    for row in range(rows):
        strip = levels[down[row * height : (row + 1) * height]]
        for column in range(columns):
            tile = strip[:, across[column * width : (column + 1) * width]]
            counts = np.bincount(tile.ravel(), minlength=BINS)
            tables[row, column] = _cumulative(_limited(counts, limit) if limit else counts, area)
    return tables


def _limited(counts: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Cut counts at the limit, and give what was cut to all levels alike; a rest to levels at equal distances."""
    cut = np.minimum(counts, limit)
    each, rest = divmod(int((counts - cut).sum()), BINS)
    cut += each
    if rest:
        cut[: rest * (apart := max(BINS // rest, 1)) : apart] += 1
    return cut


def _cumulative(counts: npt.NDArray[np.int64], area: int) -> Floats:
    table: Floats = np.rint(np.cumsum(counts) * np.float32((BINS - 1) / area)).clip(0, BINS - 1).astype(np.float32)
    return table


def _between(length: int, side: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """For each pixel of an axis, compute the tiles before and after it, and the share of the latter."""
    at = np.arange(length, dtype=np.float32) / np.float32(side) - np.float32(0.5)
    before = np.floor(at).astype(np.int64)
    share = at - before
    return np.maximum(before, 0), np.minimum(before + 1, count - 1), share.astype(np.float32)

"""Find the regions where heat [h,w], as drawn, reaches a threshold: boxes, sizes and contours in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heatlens.errors import InvalidOption, Mistake
from heatlens.evaluate.components import Integers, Runs, components, runs_of
from heatlens.evaluate.contours import Polygon, outlines
from heatlens.render.enlarge import HALF, LEVELS, exact_levels
from heatlens.types import WHOLE, Box, Floats, Part

THRESHOLD = 0.5
MAX_REGIONS = 100
MAX_VERTICES = 50_000  # in all contours of an image: a megabyte of JSON


@dataclass(frozen=True, slots=True)
class Region:
    """A connected region, in pixels of the upright original.

    Pixels that share an edge are connected. `area` is their number, `peak` the `(x, y)` of the hottest one (of several
    the first in reading order), `peak_heat` and `mean_heat` are in 0..1 as drawn. `contours` are polygons of
    `(x, y)` along the pixels' edges, the outer one and then holes, whose even-odd filling is exactly the region; `None`
    where the image's contours have too many vertices.
    """

    box: Box
    area: int
    peak: tuple[int, int]
    peak_heat: float
    mean_heat: float
    contours: tuple[Polygon, ...] | None


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions at a threshold, hottest peak first; `found` counts all, also those left out."""

    threshold: float
    found: int
    regions: tuple[Region, ...]


def find_regions(
    heat: Floats,
    box: Box,
    part: Part = WHOLE,
    *,
    threshold: float = THRESHOLD,
    max_regions: int = MAX_REGIONS,
    max_vertices: int = MAX_VERTICES,
) -> Regions:
    """Find the connected regions of pixels whose heat, as `color.levels` draws it, is at least `threshold`.

    They are sorted by their peak, then their area, both descending, then in reading order. Work and memory grow with
    the number of pixels, and of runs in them, whatever their shape.

    Args:
        heat: `[h, w]` in 0..1 at the layer's grid.
        box: The part that the model saw, in pixels of the original; there is no heat outside.
        part: The part of the heat that lies over the box; the rest lies over padding.
        threshold: Over 0, at most 1.
        max_regions: Further ones are only counted.
        max_vertices: Of the contours of all regions together, in order; a region whose contours would exceed it has
            none.

    Raises:
        InvalidOption: The threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise InvalidOption(Mistake("threshold", "it must be over 0 and at most 1", "out_of_range", str(threshold)))
    left, top, right, bottom = box
    levels = exact_levels(heat, (right - left, bottom - top), part)
    runs = runs_of(hot_pixels(levels, threshold))
    measured = _measure(levels, runs, components(runs))
    kept = measured.ranked()[:max_regions].tolist()
    contours = _contours(runs, measured.component, kept, max_vertices)
    regions = tuple(_region(levels, runs, measured, index, contours.get(index)) for index in kept)
    return Regions(threshold, len(measured.area), tuple(_move(region, left, top) for region in regions))


def hot_pixels(levels: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Find the pixels of all regions in the levels of `enlarge.exact_levels`, `[H, W]`."""
    return levels >= np.float32(threshold * LEVELS + HALF)


@dataclass(frozen=True, slots=True)
class _Measured:
    """For each run its `component` and `top` level; for each component the rest, `peak` and `total` in levels."""

    component: Integers
    top: Floats
    area: Integers
    boxes: Integers
    peak: Floats
    total: npt.NDArray[np.float64]

    def ranked(self) -> Integers:
        left, top = self.boxes[:, 0], self.boxes[:, 1]
        return np.lexsort((left, top, -self.area, -self.peak))


def _measure(levels: Floats, runs: Runs, component: Integers) -> _Measured:
    count = int(component.max(initial=-1)) + 1
    area, total = np.zeros(count, np.int64), np.zeros(count)
    np.add.at(area, component, runs.stops - runs.starts)
    np.add.at(total, component, _over_runs(np.add, levels, runs, np.float64))
    top = _over_runs(np.maximum, levels, runs, np.float32)
    peak = np.zeros(count, np.float32)
    np.maximum.at(peak, component, top)
    boxes = np.empty((count, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = runs.width + len(levels), 0
    np.minimum.at(boxes[:, 0], component, runs.starts)
    np.minimum.at(boxes[:, 1], component, runs.rows)
    np.maximum.at(boxes[:, 2], component, runs.stops)
    np.maximum.at(boxes[:, 3], component, runs.rows + 1)
    return _Measured(component, top, area, boxes, peak, total)


def _over_runs(ufunc: np.ufunc, levels: Floats, runs: Runs, dtype: type[np.floating]) -> npt.NDArray[Any]:
    """Compute the sum or maximum of each run, without a copy of its pixels."""
    if not len(runs.rows):
        return np.empty(0, dtype)
    # reduceat goes from each index to the next: every second result is of the pixels between two runs.
    cuts = (runs.rows[:, None] * runs.width + np.stack([runs.starts, runs.stops], axis=1)).ravel()
    flat = levels.ravel()
    return ufunc.reduceat(flat, cuts[:-1] if cuts[-1] == flat.size else cuts, dtype=dtype)[::2]


def _contours(
    runs: Runs, component: Integers, kept: Sequence[int], max_vertices: int
) -> dict[int, tuple[Polygon, ...]]:
    """Trace the contours of components, in their order, as long as `max_vertices` allows."""
    if not kept:
        return {}
    lines, room, traced = outlines(runs, component), max_vertices, {}
    vertices = lines.vertices
    for index in kept:
        if vertices[index] <= room:
            room -= int(vertices[index])
            traced[index] = lines.polygons(index)
    return traced


def _region(
    levels: Floats, runs: Runs, measured: _Measured, index: int, contours: tuple[Polygon, ...] | None
) -> Region:
    hottest = int(np.argmax((measured.component == index) & (measured.top == measured.peak[index])))
    row, start, stop = int(runs.rows[hottest]), int(runs.starts[hottest]), int(runs.stops[hottest])
    left, top, right, bottom = measured.boxes[index].tolist()
    return Region(
        box=(left, top, right, bottom),
        area=int(measured.area[index]),
        peak=(start + int(levels[row, start:stop].argmax()), row),
        peak_heat=_heat(float(measured.peak[index])),
        mean_heat=_heat(float(measured.total[index] / measured.area[index])),
        contours=contours,
    )


def _heat(level: float) -> float:
    return min((level - HALF) / LEVELS, 1.0)


def _move(region: Region, across: int, down: int) -> Region:
    """Move a region from the box to the picture."""
    (left, top, right, bottom), (x, y), contours = region.box, region.peak, region.contours
    return replace(
        region,
        box=(left + across, top + down, right + across, bottom + down),
        peak=(x + across, y + down),
        contours=contours and tuple(tuple((x + across, y + down) for x, y in polygon) for polygon in contours),
    )

"""Trace the contours of a mask's components: polygons along the pixels' edges that fill to exactly the mask."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from heatlens.evaluate.components import Integers, Runs

Polygon = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Outlines:
    """The vertical edges of all polygons, from which they are traced; edges are sorted by x, then top.

    Each edge has its `x`, the rows `top` and `bottom` that it spans, whether it is walked `down` (the mask is on the
    right of the direction), its `component`, and the edge that is walked `after` it.
    """

    x: Integers
    top: Integers
    bottom: Integers
    down: Integers
    component: Integers
    after: Integers

    @property
    def vertices(self) -> Integers:
        """The number of vertices of each component, holes included."""
        return 2 * np.bincount(self.component)

    def polygons(self, component: int) -> tuple[Polygon, ...]:
        """Trace the polygons of a component: the outer one, clockwise as drawn, then its holes, counterclockwise.

        A vertex is a corner `(x, y)` of pixels; edges between vertices are horizontal or vertical. Pixels that touch
        only at a corner are separate, so no polygon crosses itself, though one may visit a corner twice. Filling them,
        even-odd or by winding number, gives the component's pixels.
        """
        pending = dict.fromkeys(np.flatnonzero(self.component == component).tolist())
        polygons = []
        while pending:
            # No edge is left of a component's first, so the outer polygon comes first.
            polygons.append(tuple(self._walk(next(iter(pending)), pending)))
        return tuple(polygons)

    def _walk(self, first: int, pending: dict[int, None]) -> Iterator[tuple[int, int]]:
        """Yield the vertices of one polygon from the top of its first edge on, and take its edges from `pending`."""
        x, top, bottom = int(self.x[first]), int(self.top[first]), int(self.bottom[first])
        yield x, top
        if self.down[first]:
            yield x, bottom
        del pending[first]
        edge = int(self.after[first])
        while edge != first:
            ends = int(self.top[edge]), int(self.bottom[edge])
            for y in ends if self.down[edge] else ends[::-1]:
                yield int(self.x[edge]), y
            del pending[edge]
            edge = int(self.after[edge])
        if not self.down[first]:
            yield x, bottom


def outlines(runs: Runs, component: Integers) -> Outlines:
    """Find the edges of the polygons of all components, and the order in which they are walked.

    Every run begins and ends at one pixel of a vertical edge; those of one x in consecutive rows are one edge. Along a
    row of corners horizontal edges lie between the first and second corner, the third and fourth, and so on.

    Args:
        runs: Of the mask.
        component: Of each run; 4-connected.
    """
    x = np.stack([runs.starts, runs.stops], axis=1).ravel()
    row, down = np.repeat(runs.rows, 2), np.tile([0, 1], len(runs.rows))
    order = np.lexsort((row, x))
    x, row, down = x[order], row[order], down[order]
    begins = np.ones(len(x), np.bool_)
    begins[1:] = (x[1:] != x[:-1]) | (row[1:] != row[:-1] + 1) | (down[1:] != down[:-1])
    begin = np.flatnonzero(begins)
    end = np.append(begin[1:], len(x))[: len(begin)] - 1
    x, top, bottom, down = x[begin], row[begin], row[end] + 1, down[begin]
    return Outlines(x, top, bottom, down, component[order[begin] // 2], _after(x, top, bottom, down))


def _after(x: Integers, top: Integers, bottom: Integers, down: Integers) -> Integers:
    """Find for each vertical edge the one that the horizontal edge at its far end leads to."""
    edges = len(x)
    row, column, ends_run = np.append(top, bottom), np.tile(x, 2), np.tile(down, 2)
    # Where two pixels touch only at a corner, two vertices share a place: the one whose edge goes left comes first.
    order = np.lexsort((1 - ends_run, column, row))
    partner = np.empty(2 * edges, np.int64)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    far = np.arange(edges) + np.where(down == 1, edges, 0)
    following: Integers = partner[far] % max(edges, 1)
    return following

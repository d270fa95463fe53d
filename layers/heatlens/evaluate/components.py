"""Mask [H,W] -> its horizontal runs, and which of them hang together: connected components without a pixel loop."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Runs:
    """Maximal horizontal runs of a mask of `width` columns, in reading order; `stops` are exclusive."""

    rows: Integers
    starts: Integers
    stops: Integers
    width: int

    @property
    def stride(self) -> int:
        """Distance of two rows in `keys`: one more than the width, so that no run touches the next row's first."""
        return self.width + 1

    @property
    def keys(self) -> tuple[Integers, Integers]:
        """`row * stride + column` of starts and of stops; both ascend."""
        above = self.rows * self.stride
        return above + self.starts, above + self.stops


def runs_of(mask: Mask) -> Runs:
    """Take a mask apart.

    Args:
        mask: `[H, W]`.
    """
    height, width = mask.shape
    padded = np.zeros(height * (width + 1) + 1, np.bool_)
    padded[1:].reshape(height, width + 1)[:, :width] = mask
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    rows, columns = np.divmod(changes, width + 1)
    return Runs(rows[::2], columns[::2], columns[1::2], width)


def components(runs: Runs) -> Integers:
    """The connected component of each run, numbered from 0 in reading order; pixels that share an edge are connected.

    Union-find over whole arrays: every tree's root is its smallest run, all trees that touch hang themselves under
    their smallest neighbour at once, and paths are halved until they are flat (after Shiloach and Vishkin, "An O(log n)
    parallel connectivity algorithm", 1982).
    """
    upper, lower = _touching(runs)
    roots = np.arange(len(runs.rows))
    while len(upper):
        roots = _hung(roots, upper, lower)
        apart = roots[upper] != roots[lower]
        upper, lower = upper[apart], lower[apart]
    numbers: Integers = np.unique(roots, return_inverse=True)[1]
    return numbers


def _touching(runs: Runs) -> tuple[Integers, Integers]:
    """Pairs of runs, the second in the row below the first, that share at least one column."""
    starts, stops = runs.keys
    first = np.searchsorted(stops, starts + runs.stride, side="right")
    last = np.searchsorted(starts, stops + runs.stride, side="left")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    earlier = np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + np.arange(len(upper)) - earlier


def _hung(roots: Integers, upper: Integers, lower: Integers) -> Integers:
    """One round: trees that an edge connects become one, as far as each hangs under its smallest neighbour."""
    one, other = roots[upper], roots[lower]
    hung = roots.copy()
    np.minimum.at(hung, np.maximum(one, other), np.minimum(one, other))
    while True:
        shorter = hung[hung]
        if np.array_equal(shorter, hung):
            return hung
        hung = shorter

"""Find the connected components of a mask [H,W] by its horizontal runs, without a loop over pixels."""

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
        """Distance of two rows in `keys`: the width plus one, so that no run touches the next row's first."""
        return self.width + 1

    @property
    def keys(self) -> tuple[Integers, Integers]:
        """`row * stride + column` of starts and of stops; both ascend."""
        above = self.rows * self.stride
        return above + self.starts, above + self.stops


def runs_of(mask: Mask) -> Runs:
    """Find the horizontal runs of a mask.

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
    """Label each run with its connected component, from 0 in reading order; pixels that share an edge are connected.

    Union-find over whole arrays: a tree's root is its smallest run, all trees that touch are merged into their smallest
    neighbor at once, and paths are halved until they are flat (after Shiloach and Vishkin, "An O(log n) parallel
    connectivity algorithm", 1982).
    """
    upper, lower = _touching(runs)
    roots = np.arange(len(runs.rows))
    while len(upper):
        roots = _merge(roots, upper, lower)
        apart = roots[upper] != roots[lower]
        upper, lower = upper[apart], lower[apart]
    numbers: Integers = np.unique(roots, return_inverse=True)[1]
    return numbers


def _touching(runs: Runs) -> tuple[Integers, Integers]:
    """Find the pairs of runs, the second in the row below the first, that share at least one column."""
    starts, stops = runs.keys
    first = np.searchsorted(stops, starts + runs.stride, side="right")
    last = np.searchsorted(starts, stops + runs.stride, side="left")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    earlier = np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + np.arange(len(upper)) - earlier


def _merge(roots: Integers, upper: Integers, lower: Integers) -> Integers:
    """Merge trees that an edge connects, each into its smallest neighbor: one round."""
    one, other = roots[upper], roots[lower]
    merged = roots.copy()
    np.minimum.at(merged, np.maximum(one, other), np.minimum(one, other))
    while True:
        shorter = merged[merged]
        if np.array_equal(shorter, merged):
            return merged
        merged = shorter

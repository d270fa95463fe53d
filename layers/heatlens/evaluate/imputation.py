"""Fill in the unknown pixels of an image [C,H,W] from the known ones, by ROAD's linear imputation."""

import numpy as np

from heatlens.evaluate.components import Mask
from heatlens.types import Floats

TOLERANCE = 1e-5  # of the residual; the error of a pixel is about a tenth of ROAD's noise


def impute(image: Floats, known: Mask) -> Floats:
    """Replace every unknown pixel by the weighted mean of its eight neighbors, known or unknown.

    `x_i = sum_j w_ij x_j / sum_j w_ij` with `w` 1/6 for neighbors across an edge and 1/12 across a corner, within the
    image (Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    ICML 2022; their noise is not added here). Multiplied by `sum_j w_ij` the system is symmetric and positive definite,
    because every unknown pixel is connected to a known one; it is solved by conjugate gradients with the diagonal as
    preconditioner, all channels at once.

    Args:
        image: `[C,H,W]`.
        known: `[H,W]`, true for at least one pixel.

    Raises:
        ValueError: No pixel is known.
        ArithmeticError: The solution does not converge, which only rounding could cause.
    """
    if not known.any():
        raise ValueError("no pixel is known to impute the others from")
    if known.all():
        return image
    unknown = (~known).astype(np.float32)
    diagonal = _sum_neighbors(np.ones((1, *known.shape), np.float32))
    kept = np.where(known, image, np.float32(0))
    return np.asarray(kept + _solve(unknown, diagonal, _sum_neighbors(kept) * unknown), np.float32)


def _solve(unknown: Floats, diagonal: Floats, right: Floats) -> Floats:
    """`x` with `diagonal * x - neighbors(x) = right` where unknown, 0 elsewhere."""
    x, residual = np.zeros_like(right), right.copy()
    direction = residual / diagonal
    enough = TOLERANCE**2 * _product(right, right)
    for _ in range(int(unknown.sum()) + 1):
        if (_product(residual, residual) <= enough).all():
            return x
        towards = (diagonal * direction - _sum_neighbors(direction)) * unknown
        before = _product(residual, residual / diagonal)
        step = _ratio(before, _product(direction, towards))
        x += step * direction
        residual -= step * towards
        scaled = residual / diagonal
        direction = scaled + _ratio(_product(residual, scaled), before) * direction
    raise ArithmeticError("the imputation does not converge")


def _sum_neighbors(image: Floats) -> Floats:
    """Sum each pixel's neighbors with their weights: `(1 2 1) x (1 2 1) / 12` without the pixel's own third."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    across = 2 * padded[:, :, 1:-1] + padded[:, :, :-2] + padded[:, :, 2:]
    around = 2 * across[:, 1:-1] + across[:, :-2] + across[:, 2:]
    summed: Floats = around / np.float32(12) - image / np.float32(3)
    return summed


def _product(one: Floats, other: Floats) -> Floats:
    product: Floats = np.einsum("chw,chw->c", one, other)[:, None, None]
    return product


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide, with 0 for a channel that is solved already, which leaves it unchanged."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

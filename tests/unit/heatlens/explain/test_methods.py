"""Each method against its paper's formula, written as loops over images, channels and cells."""

from collections.abc import Callable

import numpy as np
import pytest

from heatlens.explain.methods import METHODS, PROJECTED
from heatlens.types import Floats

Cell = Callable[[Floats, Floats, int, int], float]
RANDOM = np.random.default_rng(0)
ACTIVATION = np.maximum(RANDOM.normal(size=(2, 3, 4, 5)), 0).astype(np.float32)
GRADIENT = RANDOM.normal(size=(2, 3, 4, 5)).astype(np.float32)


def plus_plus(a: Floats, g: Floats, i: int, j: int) -> float:
    share = g[i, j] ** 2 / (2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3 + 1e-6)
    return float(share * max(g[i, j], 0))


# The contribution of one cell to its channel's weight; the weight is the sum of all cells.
PER_CHANNEL: dict[str, Cell] = {
    "gradcam": lambda a, g, i, j: float(g[i, j] / g.size),
    "gradcam++": plus_plus,
    "xgradcam": lambda a, g, i, j: float(g[i, j] * a[i, j] / (a.sum() + 1e-7)),
    "eigencam": lambda a, g, i, j: 1 / a.size,
}
# The weight of one cell.
PER_CELL: dict[str, Cell] = {
    "layercam": lambda a, g, i, j: max(float(g[i, j]), 0.0),
    "hirescam": lambda a, g, i, j: float(g[i, j]),
    "gradcam-elementwise": lambda a, g, i, j: float(g[i, j]) if g[i, j] * a[i, j] > 0 else 0.0,
    "eigengradcam": lambda a, g, i, j: float(g[i, j]),
}


def cells(method: Cell) -> Floats:
    images, channels, height, width = ACTIVATION.shape
    return np.array(
        [
            [
                [[method(ACTIVATION[b, k], GRADIENT[b, k], i, j) for j in range(width)] for i in range(height)]
                for k in range(channels)
            ]
            for b in range(images)
        ],
        np.float32,
    )


def test_every_method_has_its_formula_here() -> None:
    assert set(METHODS) == set(PER_CHANNEL) | set(PER_CELL)
    assert set(METHODS) >= PROJECTED


@pytest.mark.parametrize("name", PER_CHANNEL)
def test_the_weight_of_a_channel_is_that_of_the_formula(name: str) -> None:
    expected = cells(PER_CHANNEL[name]).sum(axis=(2, 3))

    np.testing.assert_allclose(METHODS[name](ACTIVATION, GRADIENT), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PER_CELL)
def test_the_weight_of_a_cell_is_that_of_the_formula(name: str) -> None:
    np.testing.assert_allclose(METHODS[name](ACTIVATION, GRADIENT), cells(PER_CELL[name]), rtol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_weights_of_an_empty_activation_are_finite(name: str) -> None:
    empty = np.zeros_like(ACTIVATION)

    assert np.isfinite(METHODS[name](empty, empty)).all()


# A channel's activation and its gradient: sums that cancel to 0, or cancel the constant that is added to them.
CANCELLED = {
    "to 0": ([1.0, -1.0], 1.0),
    "the constant of xgradcam": ([-1e-7, 0.0], 1.0),
    "the divisor of gradcam++": ([-(float(np.float32(1e-6)) + 2**-21) * 2**33, 0.0], 2**-11),
}


@pytest.mark.parametrize(("channel", "slope"), CANCELLED.values(), ids=CANCELLED)
@pytest.mark.parametrize("name", METHODS)
def test_the_weights_of_an_activation_that_cancels_are_finite(name: str, channel: list[float], slope: float) -> None:
    activation = np.array(channel, np.float32).reshape(1, 1, 1, 2)

    with np.errstate(divide="raise", invalid="raise", over="raise"):
        weights = METHODS[name](activation, np.full_like(activation, slope))

    assert np.isfinite(weights).all()

from collections.abc import Sequence

import numpy as np
import pytest

from heatlens.engines.reciprocam import KERNEL, reciprocam
from heatlens.types import Floats

RNG = np.random.default_rng(4)
CHANNELS, HEIGHT, WIDTH, LOGITS = 3, 4, 5, 4
WEIGHTS = RNG.standard_normal((LOGITS, CHANNELS, HEIGHT, WIDTH), dtype=np.float32)


class Curved:
    """Logits that are not linear in the activation, plus another value that crosses the cut; there is no gradient."""

    name, precision, device = "curved", "f32", "CPU"

    def __init__(self) -> None:
        self.rows: list[int] = []

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        raise AssertionError("the trunk need not run again")

    def tail(self, crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        activation, token = crossing
        self.rows.append(len(selector))
        logits = np.tanh(np.einsum("kchw,bchw->bk", WEIGHTS, activation) / 9) * token + token
        return logits.astype(np.float32), np.full_like(activation, np.nan)


def by_loops(activation: Floats, token: Floats, selector: Floats) -> Floats:
    """Score every cell by itself, with a mask that is written out."""
    found = np.empty((HEIGHT, WIDTH), np.float32)
    none, _ = Curved().tail([np.zeros_like(activation), token], selector[None])
    for i in range(HEIGHT):
        for j in range(WIDTH):
            masked = np.zeros_like(activation)
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    row, column = i + di, j + dj
                    if 0 <= row < HEIGHT and 0 <= column < WIDTH:
                        share = {0: 0.25, 1: 0.125, 2: 0.0625}[abs(di) + abs(dj)]
                        masked[..., row, column] = activation[..., row, column] * share
            logits, _ = Curved().tail([masked, token], selector[None])
            found[i, j] = (logits[0] - none[0]) @ selector
    return found


@pytest.mark.parametrize("batch", [1, 7, 16, 64])
def test_each_cell_is_scored_as_by_loops(batch: int) -> None:
    activation = RNG.standard_normal((1, CHANNELS, HEIGHT, WIDTH), dtype=np.float32)
    token = np.array([[0.7]], np.float32)
    selectors = np.array([[0, 1, 0, 0], [0.5, 0, 0.5, -1]], np.float32)
    engine = Curved()

    maps = reciprocam(engine, [activation, token], selectors, batch)

    assert maps.shape == (2, HEIGHT, WIDTH)
    for found, selector in zip(maps, selectors, strict=True):
        assert found == pytest.approx(by_loops(activation, token, selector), abs=1e-6)
    assert sum(engine.rows) == HEIGHT * WIDTH + 1
    assert max(engine.rows) <= batch


def test_the_kernel_is_a_gaussian_that_sums_to_one() -> None:
    assert KERNEL.sum() == 1
    assert KERNEL[1].tolist() == [0.125, 0.25, 0.125]


def test_a_single_cell_keeps_the_share_of_the_middle() -> None:
    class Sum(Curved):
        def tail(self, crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
            return crossing[0].sum(axis=(1, 2, 3))[:, None], crossing[0]

    activation = np.full((1, 2, 1, 1), 4, np.float32)

    assert reciprocam(Sum(), [activation], np.ones((1, 1), np.float32), 16).tolist() == [[[2.0]]]

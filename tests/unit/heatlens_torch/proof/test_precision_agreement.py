from collections.abc import Sequence

import numpy as np
import pytest

from heatlens.types import Floats
from heatlens_torch.proof.precision_agreement import correlation, explain_float32, measure_agreement

SIDE = 5


class Drawn:
    """An engine whose maps are given: one channel, so that the map is the activation times the selected weight."""

    name, precision, device = "drawn", "f32", "CPU"

    def __init__(self, maps: Floats, logits: Floats) -> None:
        self.maps, self.logits = maps, logits
        self.asked: list[Floats] = []

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        rows = batch[:, 0, 0, 0].astype(int)  # an image says which it is
        return self.maps[rows][:, None], self.logits[rows]

    def tail(self, crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        self.asked.append(selector)
        return crossing[1], np.ones_like(crossing[0])


def numbered(count: int) -> Floats:
    return np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 2, 2), np.float32)


def peak(row: int, column: int, height: float = 1.0) -> Floats:
    """A map with one hot cell on a slope."""
    values = np.linspace(-0.1, 0.1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    values[row, column] = height
    return values


def test_each_figure_is_computed_as_documented() -> None:
    theirs = Drawn(np.stack([peak(2, 2)] * 4), np.array([[2, 1], [1, 2], [2, 1], [2, 1]], np.float32))
    ours = Drawn(
        np.stack([peak(2, 2), peak(3, 1), peak(0, 2), peak(2, 2) * 3]),
        np.array([[2, 1], [1, 2], [1, 2], [3, 1]], np.float32),
    )

    truth = explain_float32(theirs, numbered(4), 2)
    found = measure_agreement(ours, numbered(4), truth)

    expected = [
        np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(ours.maps, theirs.maps, strict=True)
    ]
    assert (found.images, found.engine) == (4, "drawn")
    assert found.correlation == pytest.approx(np.mean(expected))
    assert found.least_correlation == pytest.approx(min(expected))
    assert found.same_maximum == 2 / 4
    assert found.pointing == 3 / 4, "one cell in each direction is near, two are not"
    assert found.top1_kept == 3 / 4


@pytest.mark.parametrize(
    ("logits", "selected"),
    [([[0.3], [-0.3], [0.0]], [[1], [-1], [1]]), ([[1, 3, 2], [5, 5, 0]], [[0, 1, 0], [1, 0, 0]])],
)
def test_both_explain_the_class_that_float32_predicts(logits: list[list[float]], selected: list[list[float]]) -> None:
    theirs = Drawn(np.stack([peak(1, 1)] * len(logits)), np.array(logits, np.float32))
    ours = Drawn(theirs.maps, -theirs.logits)

    measure_agreement(
        ours, numbered(len(logits)), explain_float32(theirs, numbered(len(logits)), theirs.logits.shape[1])
    )

    assert np.concatenate(ours.asked).tolist() == selected
    assert not np.concatenate(theirs.asked).any()


def test_equal_flat_maps_agree_and_others_do_not() -> None:
    flat, slope = np.zeros((SIDE, SIDE), np.float32), peak(1, 1)

    assert correlation(flat, flat) == 1
    assert correlation(flat, flat + 1) == 0
    assert correlation(flat, slope) == 0
    assert correlation(slope, np.full_like(slope, np.nan)) == 0
    assert correlation(slope, -slope) == pytest.approx(-1)
    assert correlation(slope * np.float32(1e-20), slope) == pytest.approx(1), "small maps are maps"

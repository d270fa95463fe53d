"""The choice of the golden image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from heatlens.card import read_card
from heatlens.engines.base import open_engines
from heatlens.engines.golden import check_golden
from heatlens.types import Floats
from heatlens_torch.proof.golden import SEEDS, TOLERANCE, make_golden
from tests.support.tiny import write_tiny_model


class Constant:
    """An engine that returns the same map for every image."""

    name, precision, device = "constant", "f32", "CPU"

    def __init__(self, value: float) -> None:
        self.value = value

    def trunk(self, _batch: Floats) -> tuple[Floats, ...]:
        return (np.full((1, 1, 8, 8), self.value, np.float32),)

    def tail(self, _crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        return np.ones_like(selector), np.ones((1, 1, 8, 8), np.float32)


def test_a_model_reproduces_its_golden_explanation(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    card, _ = read_card(folder)
    engine = open_engines(folder, card)["cells"]

    golden = make_golden(engine, card.preprocess, card.logits)

    assert golden is not None
    assert (golden.seed, golden.tolerance) == (0, TOLERANCE)
    layer = card.layers[0].model_copy(update={"golden": golden})
    assert check_golden(engine, card, layer) == 0


def test_flat_maps_make_no_golden_explanation(tmp_path: Path) -> None:
    card, _ = read_card(write_tiny_model(tmp_path / "tiny"))

    assert make_golden(Constant(0), card.preprocess, 1) is None


@pytest.mark.parametrize(
    ("moves", "seed", "tolerance"),
    [
        ([0.5, 0.5, 0, 0.5], 2, TOLERANCE),
        ([0.5, 0.01, 0.5, 0.012, 0.5, 0.5, 0.5, 0.5], 1, 0.04),
        ([0.5] * SEEDS, None, None),
    ],
)
def test_an_image_whose_map_jumps_by_rounding_is_passed_over(
    moves: list[float], seed: int | None, tolerance: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, _ = read_card(write_tiny_model(tmp_path / "tiny"))
    remaining = iter(moves)
    monkeypatch.setattr("heatlens_torch.proof.golden._largest_move", lambda *_: next(remaining))

    golden = make_golden(Constant(1), card.preprocess, 1)

    assert (golden and golden.seed) == seed
    assert golden is None or golden.tolerance == pytest.approx(tolerance)

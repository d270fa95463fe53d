import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from heatlens.engines.default_map import explain_by_default, predicted_selector
from heatlens.types import Floats

WEIGHTS = np.array([[1, -1], [0.5, 2], [-1, 0]], np.float32)
IMAGES = np.random.default_rng(3).random((3, 2, 4, 5), dtype=np.float32)


class Linear:
    """Logits that are weighted means of the image's two channels; the activation is the image."""

    name, precision, device = "linear", "f32", "CPU"

    def __init__(self, *, gradients: bool) -> None:
        self.gradients = gradients

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        return (batch,)

    def tail(
        self, crossing: Sequence[Floats], selector: Floats, _owners: object = None
    ) -> tuple[Floats, Floats | None]:
        logits = crossing[0].mean(axis=(2, 3)) @ WEIGHTS.T
        if not self.gradients:
            return logits, None
        slope = (selector @ WEIGHTS)[:, :, None, None] / np.float32(4 * 5)
        return logits, np.broadcast_to(slope, crossing[0].shape)


@pytest.mark.parametrize("gradients", [True, False])
def test_maps_follow_the_selector(gradients: bool) -> None:  # noqa: FBT001 - a parameter of the test
    selector = np.eye(3, dtype=np.float32)

    found = explain_by_default(Linear(gradients=gradients), IMAGES, selector)

    own = np.einsum("bc,bchw->bhw", selector @ WEIGHTS, IMAGES) / 20
    if gradients:
        assert found.gradient is not None
        assert found.signed_map == pytest.approx(own, abs=1e-6)
    else:
        assert found.gradient is None
        padded = np.pad(own, ((0, 0), (1, 1), (1, 1)))
        blurred = sum(
            padded[:, i : i + 4, j : j + 5] * weight
            for i, row in enumerate([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
            for j, weight in enumerate(row)
        )
        assert found.signed_map == pytest.approx(blurred / 16, abs=1e-6)


def test_rows_of_zeros_explain_the_predicted_class() -> None:
    engine = Linear(gradients=False)
    logits, _ = engine.tail([IMAGES], np.zeros((3, 3), np.float32))

    found = explain_by_default(engine, IMAGES, np.zeros((3, 3), np.float32))

    assert found.signed_map == pytest.approx(explain_by_default(engine, IMAGES, predicted_selector(logits)).signed_map)


def test_the_predicted_class_of_one_logit_is_its_sign() -> None:
    assert predicted_selector(np.array([[0.0], [-0.1], [2.0]], np.float32)).tolist() == [[1], [-1], [1]]


def test_one_class_of_tens_of_thousands_is_selected_without_a_square_of_them() -> None:
    """21,841 classes are 1.9 GB as a square matrix, in every process that loads the model."""
    logits = np.zeros((2, 21841), np.float32)
    logits[0, 7] = logits[1, 21840] = 1

    tracemalloc.start()
    selected = predicted_selector(logits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert np.array_equal(selected, logits)
    assert peak < 10 * logits.nbytes

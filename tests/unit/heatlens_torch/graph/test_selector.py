"""Rows of zeros in a selector stand for the predicted class."""

import numpy as np
import pytest
import torch

from heatlens.types import Floats
from heatlens_torch.graph.selector import explained_selector, predicted_classes


def slow_selector(selector: Floats, logits: Floats) -> Floats:
    filled = selector.copy()
    for row, logit in zip(filled, logits, strict=True):
        if not row.any():
            row[int(np.argmax(logit))] = 1 if len(row) > 1 or logit[0] >= 0 else -1
    return filled


@pytest.mark.parametrize("logits", [[[0.0], [-0.5], [2.0], [-3.0]], [[0.0, 0.0], [1.0, 2.0], [-1.0, -2.0], [5.0, 0.0]]])
@pytest.mark.parametrize("explicit", [0.0, 1.0, -1.0, 0.5])
def test_a_row_of_zeros_means_the_predicted_class(logits: list[list[float]], explicit: float) -> None:
    values = np.array(logits, np.float32)
    selector = np.zeros_like(values)
    selector[2:, -1] = explicit
    filled = explained_selector(torch.from_numpy(selector), torch.from_numpy(values)).numpy()
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled, slow_selector(selector, values))


@pytest.mark.parametrize(
    ("logits", "classes"),
    [([[0.0], [-0.5], [2.0]], [1, 0, 1]), ([[1.0, 3.0, 3.0], [-2.0, -3.0, -1.0], [0.0, 0.0, 0.0]], [1, 2, 0])],
)
def test_predicted_classes_are_the_sign_of_one_logit_or_the_first_largest(
    logits: list[list[float]], classes: list[int]
) -> None:
    assert predicted_classes(torch.tensor(logits)) == classes

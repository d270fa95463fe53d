"""The linear imputation compared with its equations written out, and with pytorch-grad-cam's."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis.extra.numpy import array_shapes, arrays
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from heatlens.evaluate import imputation
from heatlens.evaluate.components import Mask
from heatlens.evaluate.imputation import impute
from heatlens.types import Floats


def picture(height: int, width: int, channels: int = 3) -> Floats:
    return np.random.default_rng(height * 100 + width).standard_normal((channels, height, width), np.float32)


def written_out(image: Floats, known: Mask) -> Floats:
    """One equation per pixel, solved densely in float64."""
    height, width = known.shape
    matrix, right = np.eye(height * width), image.reshape(len(image), -1).T.astype(np.float64)
    for y in range(height):
        for x in range(width):
            if known[y, x]:
                continue
            at = y * width + x
            right[at] = 0
            weights = {}
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if (dy, dx) != (0, 0) and 0 <= y + dy < height and 0 <= x + dx < width:
                        weights[(y + dy) * width + x + dx] = 1 / 12 if dy and dx else 1 / 6
            for other, weight in weights.items():
                matrix[at, other] = -weight / sum(weights.values())
    return np.linalg.solve(matrix, right).T.reshape(image.shape).astype(np.float32)


@given(array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(lambda shape: arrays(np.bool_, shape)))
def test_imputation_solves_its_equations(known: Mask) -> None:
    assume(known.any())
    image = picture(*known.shape)
    np.testing.assert_allclose(impute(image, known), written_out(image, known), atol=1e-4)


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # of numpy, at pytorch-grad-cam's own code
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_is_pytorch_grad_cams_without_noise(share: float) -> None:
    image, y, x = picture(40, 30), *np.mgrid[:40, :30]
    smooth = np.sin(x / 5) * np.cos(y / 7) + 0.01 * x
    known = smooth < np.quantile(smooth, share)
    theirs = NoisyLinearImputer(noise=0)(torch.from_numpy(image), torch.from_numpy(known.astype(np.float32)))
    np.testing.assert_allclose(impute(image, known), theirs.numpy(), atol=1e-3)


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_a_flat_image_stays_flat(value: float) -> None:
    image, known = np.full((2, 12, 9), value, np.float32), np.zeros((12, 9), np.bool_)
    known[3, 4] = True
    np.testing.assert_allclose(impute(image, known), image, atol=1e-4)


def test_known_pixels_are_untouched() -> None:
    image, known = picture(8, 8), np.indices((8, 8)).sum(axis=0) % 3 == 0
    assert np.array_equal(impute(image, known)[:, known], image[:, known])
    assert np.array_equal(impute(image, np.ones((8, 8), np.bool_)), image)


def test_rejects_an_image_without_known_pixels() -> None:
    with pytest.raises(ValueError, match="no pixel is known"):
        impute(picture(4, 4), np.zeros((4, 4), np.bool_))


@pytest.mark.parametrize("side", [40, 80, 160])
def test_the_solution_takes_steps_in_proportion_to_the_side(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    known = np.zeros((side, side), np.bool_)
    known[: side // 10] = True
    steps = Mock(wraps=imputation._sum_neighbors)
    monkeypatch.setattr(imputation, "_sum_neighbors", steps)
    impute(picture(side, side), known)
    assert steps.call_count < 5 * side

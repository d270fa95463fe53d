"""The distance of an input from the calibration images, against Mahalanobis's formula written out."""

import base64

import numpy as np
import pytest
from pydantic import ValidationError

from heatlens.card import FamiliarityReference
from heatlens.explain.familiarity import distances, familiarity, features, pool
from heatlens.types import Floats


def text(values: Floats) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def reference(**changes: object) -> FamiliarityReference:
    """Two features with mean (1, 2), standard deviations 1 and 0.5, not correlated."""
    fields: dict[str, object] = {
        "images": 64,
        "features": 2,
        "mean_base64": text(np.array([1, 2], np.float32)),
        "whitening_base64": text(np.array([1, 0, 2], np.float32)),
        "distance_percentiles": {"5": 0.5, "50": 1.0, "99.9": 2.0},
        "auroc": 1.0,
        "strange": 10,
        "unfamiliar": {"flat": 1.0},
    }
    return FamiliarityReference.model_validate(fields | changes)


def point(first: float, second: float) -> Floats:
    return np.array([first, second], np.float32)


def test_the_activation_is_pooled_over_its_cells() -> None:
    activation = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    found = pool([activation, np.zeros(1, np.float32)])
    assert found.tolist() == [[cells.mean() for cells in image.reshape(3, 20)] for image in activation]


def test_features_are_means_of_neighboring_channels() -> None:
    pooled = np.arange(2 * 96, dtype=np.float32).reshape(2, 96)
    assert features(pooled[:, :48]).tolist() == pooled[:, :48].tolist()
    assert features(pooled).tolist() == [[0.5 + 2 * at for at in range(48)], [96.5 + 2 * at for at in range(48)]]
    assert features(np.zeros((3, 100), np.float32)).shape == (3, 48)


def test_the_distance_is_mahalanobiss() -> None:
    rng = np.random.default_rng(0)
    mixing, mean = rng.normal(size=(5, 5)), rng.normal(size=5)
    covariance = mixing @ mixing.T
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    points = rng.normal(size=(7, 5))

    found = distances(*(each.astype(np.float32) for each in (points, mean, whitening)))

    expected = [np.sqrt((x - mean) @ np.linalg.inv(covariance) @ (x - mean) / 5) for x in points]
    assert found == pytest.approx(np.array(expected), rel=1e-4)


@pytest.mark.contract("familiarity")
@pytest.mark.parametrize(
    ("pooled", "percentile", "unfamiliar"),
    [
        (point(1, 2), 0, False),
        (point(1 + 0.25 * 2**0.5, 2), 2.5, False),  # distance 0.25
        (point(1, 2 + 0.5 * 2**0.5), 50, False),  # distance 1
        (point(1 - 1.999 * 2**0.5, 2), 99.85, False),
        (point(1 + 2.001 * 2**0.5, 2), 100, True),
        (point(np.inf, 2), 100, True),
        (point(np.nan, 2), 100, True),
    ],
)
def test_an_input_beyond_the_last_percentile_is_unfamiliar(
    pooled: Floats, percentile: float, *, unfamiliar: bool
) -> None:
    found = familiarity(pooled, reference())
    assert found is not None
    assert found.percentile == pytest.approx(percentile, abs=0.01)
    assert found.unfamiliar == unfamiliar


def test_a_card_without_a_reference_says_nothing() -> None:
    assert familiarity(point(1, 2), None) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": 3}, "do not have the size of 3 features"),
        ({"whitening_base64": text(np.array([1, 0, 0, 2], np.float32))}, "do not have the size of 2 features"),
        ({"mean_base64": "?"}, "not base64 of float32 values"),
        ({"mean_base64": "AAA="}, "not base64 of float32 values"),
        ({"distance_percentiles": {"99": 1.0}}, "the 99.9th percentile of the distances is missing"),
    ],
)
def test_a_damaged_reference_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        reference(**changes)

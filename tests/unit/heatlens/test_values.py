from typing import Any

import numpy as np
import pytest
from PIL import Image

from heatlens.card import Preprocess
from heatlens.values import input_of
from tests.support.images import noise

IMAGE = noise((7, 5))
PIXELS = np.asarray(IMAGE)
RESIZE = {"step": "resize", "size": [5, 7]}


def values(*steps: dict[str, Any], pixels: np.ndarray[Any, Any] = PIXELS) -> np.ndarray[Any, Any]:
    return input_of(pixels, Preprocess.model_validate({"steps": [RESIZE, *steps]}))


def test_without_steps_the_input_has_the_gray_levels() -> None:
    found = values()

    assert found.dtype == np.float32
    assert np.array_equal(found, PIXELS.transpose(2, 0, 1))


def test_scale_and_offset() -> None:
    assert np.array_equal(values({"step": "scale"}), PIXELS.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    found = values({"step": "scale", "factor": 2 / 255, "offset": -1})
    assert np.allclose(found, PIXELS.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_gray_levels_span_a_range() -> None:
    found = values({"step": "range", "low": -1024, "high": 1024}, pixels=np.array([[[0] * 3, [255] * 3]], np.uint8))

    assert found[0].tolist() == [[-1024, 1024]]


def test_values_are_clipped() -> None:
    found = values({"step": "clip", "low": 10, "high": 99.5})

    assert (found.min(), found.max()) == (10, 99.5)


@pytest.mark.parametrize(("mean", "std"), [([1, 2, 3], [2, 4, 8]), ([5], [2])])
def test_normalize_has_one_number_for_each_channel_or_for_all(mean: list[float], std: list[float]) -> None:
    found = values({"step": "normalize", "mean": mean, "std": std})

    assert np.allclose(found, ((PIXELS - np.array(mean, np.float32)) / std).transpose(2, 0, 1))


def test_bgr_reverses_the_channels() -> None:
    assert np.array_equal(values({"step": "channels", "order": "BGR"}), PIXELS[..., ::-1].transpose(2, 0, 1))


def test_channels_are_chosen_by_index() -> None:
    found = values({"step": "channels", "order": [1, 1, 0, 2]})

    assert np.array_equal(found, PIXELS[..., [1, 1, 0, 2]].transpose(2, 0, 1))


def test_gray_is_pillows() -> None:
    assert np.array_equal(values({"step": "gray"})[0], np.asarray(IMAGE.convert("L")))


def test_gray_by_weights_is_not_rounded() -> None:
    found = values({"step": "gray", "weights": [0.2125, 0.7154, 0.0721]})

    assert found.shape == (1, 5, 7)
    assert np.allclose(found[0], PIXELS @ np.array([0.2125, 0.7154, 0.0721]), atol=1e-3)


@pytest.mark.parametrize(("over", "axes"), [("image", (0, 1, 2)), ("channel", (1, 2))])
def test_an_image_is_standardized_by_its_own_values(over: str, axes: tuple[int, ...]) -> None:
    found = values({"step": "per_image", "over": over})

    assert np.allclose(found.mean(axis=axes), 0, atol=1e-6)
    assert np.allclose(found.std(axis=axes), 1, atol=1e-6)


def test_an_image_is_stretched_to_its_own_range() -> None:
    found = values({"step": "per_image", "kind": "minmax", "over": "channel"})

    assert found.min(axis=(1, 2)).tolist() == [0, 0, 0]
    assert found.max(axis=(1, 2)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
def test_a_flat_image_becomes_zero(kind: str) -> None:
    assert not values({"step": "per_image", "kind": kind}, pixels=np.full((5, 7, 3), 200, np.uint8)).any()


def test_a_small_deviation_counts_as_the_least() -> None:
    pixels = np.asarray(Image.new("RGB", (7, 5), (100, 100, 100))).copy()
    pixels[0, 0] = 101

    found = values({"step": "per_image", "least_std": 10}, pixels=pixels)

    assert found.max() == pytest.approx((1 - 1 / 35) / 10)

"""Phantoms have reliable ground truth, look the same at every size, and do not give away their class."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from heatlens_torch.demo.grain import grain
from heatlens_torch.demo.opacities import CONTRASTS
from heatlens_torch.demo.phantoms import (
    CALIBRATION_SEEDS,
    HELD_OUT_SEEDS,
    RENDERED_SIZE,
    SAMPLE_SEEDS,
    TRAIN_SEEDS,
    Phantom,
    border,
    calibration_images,
    phantom,
    to_pil,
)

SIZE = 160
SEEDS = range(100)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Phantom, Phantom]]:
    """The same patients without and with an opacity."""
    return [(phantom(seed, size=SIZE, opacity=False), phantom(seed, size=SIZE, opacity=True)) for seed in SEEDS]


def test_the_same_seed_gives_the_same_phantom() -> None:
    first, again, other = phantom(5, size=SIZE), phantom(5, size=SIZE), phantom(6, size=SIZE)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.label == again.label
    assert np.abs(first.image - other.image).mean() > 0.01


def test_arrays_are_what_the_docstring_says() -> None:
    drawn = phantom(3, size=SIZE, opacity=True)
    assert drawn.image.shape == drawn.mask.shape == drawn.markers.shape == (SIZE, SIZE)
    assert [it.dtype.name for it in (drawn.image, drawn.mask, drawn.markers)] == ["float32", "bool", "bool"]
    assert drawn.image.min() >= 0
    assert drawn.image.max() <= 1
    assert drawn.image.std() > 0.1


def test_mask_matches_label() -> None:
    drawn = [phantom(seed, size=SIZE) for seed in SEEDS]
    assert [it.label for it in drawn] == [int(it.mask.any()) for it in drawn]
    assert 30 <= sum(it.label for it in drawn) <= 70


def test_label_can_be_requested(pairs: list[tuple[Phantom, Phantom]]) -> None:
    assert [(clear.label, ill.label) for clear, ill in pairs] == [(0, 1)] * len(pairs)
    assert not any(clear.mask.any() for clear, _ in pairs)
    assert all(ill.mask.any() for _, ill in pairs)


def test_mean_area_is_at_most_four_percent(pairs: list[tuple[Phantom, Phantom]]) -> None:
    areas = [ill.mask.mean() for _, ill in pairs]
    assert 0.01 < np.mean(areas) <= 0.04
    assert min(areas) > 0.001


def test_contrast_keeps_its_range(pairs: list[tuple[Phantom, Phantom]]) -> None:
    peaks = np.array([_added(clear, ill)[ill.mask].max() for clear, ill in pairs])
    low, high = CONTRASTS
    assert CONTRASTS == (0.14, 0.32)
    assert peaks.max() <= high + 1e-6
    # The brightest pixel lies a little beside the peak, or under the edge of the lung.
    assert (peaks >= 0.95 * low).all()
    assert peaks.min() < low + 0.05
    assert peaks.max() > high - 0.05


def test_opacity_changes_only_its_place(pairs: list[tuple[Phantom, Phantom]]) -> None:
    for clear, ill in pairs:
        added = _added(clear, ill)
        assert added.min() >= -1e-6
        # The mask ends at half of the contrast: brighter inside than everywhere else.
        assert np.median(added[ill.mask & ~ill.markers]) > 3 * added[~ill.mask].mean()
        assert added[~ill.mask].max() <= 0.5 * CONTRASTS[1] + 1e-6


def test_opacities_lie_on_both_sides(pairs: list[tuple[Phantom, Phantom]]) -> None:
    left = np.array([ill.mask[:, : SIZE // 2].sum() > ill.mask[:, SIZE // 2 :].sum() for _, ill in pairs])
    assert 0.3 < left.mean() < 0.7


def test_distractors_do_not_depend_on_the_class(pairs: list[tuple[Phantom, Phantom]]) -> None:
    for clear, ill in pairs:
        np.testing.assert_array_equal(clear.markers, ill.markers)
        assert clear.markers.any()
        assert clear.image[clear.markers].max() > 0.7


def test_distractors_of_both_labels_are_alike() -> None:
    drawn = [phantom(seed, size=SIZE) for seed in range(300)]
    covered = [np.mean([it.markers.mean() for it in drawn if it.label == label]) for label in (0, 1)]
    assert min(covered) > 0.003
    assert max(covered) < 1.25 * min(covered)


def test_distractors_also_lie_on_opacities(pairs: list[tuple[Phantom, Phantom]]) -> None:
    assert sum(bool((ill.mask & ill.markers).any()) for _, ill in pairs) >= 10


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_anatomy_and_opacity_do_not_depend_on_size(seed: int) -> None:
    small, large = phantom(seed, size=224, opacity=True), phantom(seed, size=1024, opacity=True)
    reduced = _reduced(large.image)
    assert np.corrcoef(reduced.ravel(), small.image.ravel())[0, 1] > 0.99
    mask = _reduced(large.mask.astype(np.float32)) >= 0.5
    assert (mask & small.mask).sum() / (mask | small.mask).sum() > 0.97


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_noise_keeps_its_strength_when_a_large_image_is_reduced(seed: int) -> None:
    small, large = (grain(np.random.default_rng(seed), size) for size in (224, 1024))
    assert 0.85 < _reduced(large).std() / small.std() < 1.1
    # The finest scale, which white noise in every pixel would bring down to one fifth.
    assert 0.7 < _roughness(_reduced(large)) / _roughness(small) < 1.1


def test_seed_ranges_are_disjoint() -> None:
    ranges = (TRAIN_SEEDS, HELD_OUT_SEEDS, CALIBRATION_SEEDS, SAMPLE_SEEDS)
    assert all(len(range(max(a[0], b[0]), min(a[-1], b[-1]) + 1)) == 0 for a, b in combinations(ranges, 2))


def test_eight_bits() -> None:
    drawn = phantom(2, size=SIZE)
    image = to_pil(drawn)
    assert image.mode == "L"
    assert np.abs(np.asarray(image) / 255 - drawn.image).max() <= 0.5 / 255 + 1e-6


def test_sixteen_bits_use_only_a_part_of_the_range() -> None:
    drawn = phantom(2, size=SIZE)
    image = to_pil(drawn, bits=16)
    counts = np.asarray(image)
    assert image.mode == "I;16"
    assert counts.min() > 0
    assert counts.max() < 4096
    assert len(np.unique(counts)) > 500
    assert np.corrcoef(counts.ravel(), drawn.image.ravel())[0, 1] > 0.9999


def test_calibration_images_are_of_both_classes_and_not_held_out() -> None:
    for image, seed, opacity in zip(calibration_images(2), CALIBRATION_SEEDS, (False, True), strict=False):
        drawn, bars = phantom(seed, size=RENDERED_SIZE, opacity=opacity), border(seed, RENDERED_SIZE)
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), np.asarray(ImageOps.expand(to_pil(drawn), bars)))


def test_every_third_example_has_black_bars_on_two_sides() -> None:
    borders = [border(seed, RENDERED_SIZE) for seed in range(120)]
    assert [any(bars) for bars in borders[::3]].count(True) >= 38, "but for those of no width"
    assert not any(any(bars) for at, bars in enumerate(borders) if at % 3)
    for left, top, right, bottom in borders:
        assert (left, top) == (right, bottom)
        assert left == 0 or top == 0
        assert max(left, top) < RENDERED_SIZE / 6


def test_phantoms_need_no_torch() -> None:
    code = "import sys, heatlens_torch.demo.phantoms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _added(clear: Phantom, ill: Phantom) -> NDArray[np.float32]:
    return ill.image - clear.image


def _reduced(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR))


def _roughness(image: NDArray[np.float32]) -> float:
    """Measure what the finest scale holds: the strength of the second differences along both axes."""
    return float(sum(np.diff(image, n=2, axis=axis).std() for axis in (0, 1)))

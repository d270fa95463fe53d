"""Peaks are calibrated for each explained class, each with the floor under which its maps are weak."""

import numpy as np
import pytest

from heatlens_torch.proof.calibration import calibration_of

LOW = np.random.default_rng(0).uniform(0.1, 0.2, 200).tolist()
HIGH = np.random.default_rng(1).uniform(5, 9, 200).tolist()


def test_each_class_has_its_own_peaks() -> None:
    found = calibration_of([*LOW, *HIGH], ["sick"] * 200 + ["clear"] * 200)

    assert (found.images, list(found.classes)) == (400, ["clear", "sick"])
    assert found.peak_percentiles["50"] == pytest.approx(np.percentile([*LOW, *HIGH], 50))
    for label, peaks in (("sick", LOW), ("clear", HIGH)):
        own = found.classes[label]
        assert own.images == 200
        assert own.peak_percentiles["99"] == pytest.approx(np.percentile(peaks, 99))
    assert found.floor is None, "of all classes together no map is weak"


def test_a_class_of_few_images_is_not_calibrated() -> None:
    found = calibration_of([1.0] * 39, ["often"] * 20 + ["rare"] * 19)
    assert list(found.classes) == ["often"]


@pytest.mark.parametrize(("count", "rank"), [(20, 1), (58, 1), (93, 2), (256, 7), (1000, 39)])
def test_the_floor_is_under_the_5th_percentile_with_95_percent_confidence(count: int, rank: int) -> None:
    peaks = np.random.default_rng(2).permutation(count).astype(float).tolist()  # 0, 1, 2 ... in any order
    assert calibration_of(peaks, ["one"] * count).classes["one"].floor == rank - 1


@pytest.mark.parametrize("count", [59, 256, 1000])
def test_the_floor_of_most_samples_has_no_more_than_a_twentieth_of_the_class_below_it(count: int) -> None:
    rng = np.random.default_rng(3)
    samples = (rng.uniform(size=count).tolist() for _ in range(300))
    floors = [calibration_of(sample, ["one"] * count).classes["one"].floor for sample in samples]
    assert np.mean([floor <= 0.05 for floor in floors if floor is not None]) >= 0.92

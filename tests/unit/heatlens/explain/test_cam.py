import numpy as np
import pytest

from heatlens.card import Peaks
from heatlens.explain.cam import positive, quality, signed, signed_map
from heatlens.types import Floats

PEAKS = Peaks(images=64, peak_percentiles={"5": 2.5, "50": 4.0}, floor=2.0)
UNRATED = Peaks(images=64, peak_percentiles={"5": 2.5, "50": 4.0})


def grid(*values: float) -> Floats:
    return np.array(values, dtype=np.float32).reshape(1, -1)


def test_gradcam_equals_the_formula_written_out() -> None:
    rng = np.random.default_rng(0)
    activation = rng.standard_normal((2, 3, 4, 5), dtype=np.float32)
    gradient = rng.standard_normal((2, 3, 4, 5), dtype=np.float32)

    expected = np.zeros((2, 4, 5))
    for b in range(2):
        for k in range(3):
            alpha = sum(float(gradient[b, k, i, j]) for i in range(4) for j in range(5)) / 20
            expected[b] += alpha * activation[b, k]

    assert signed_map("gradcam", activation, gradient) == pytest.approx(expected, abs=1e-5)


@pytest.mark.contract("image scale")
def test_positive_scales_by_the_peak_without_subtracting_a_minimum() -> None:
    assert positive(grid(-1, 2, 4)).tolist() == [[0, 0.5, 1]]
    assert positive(grid(3, 3)).tolist() == [[1, 1]]


@pytest.mark.contract("empty")
def test_an_empty_map_stays_empty() -> None:
    assert positive(grid(-1, -2, 0)).max() == 0


def test_signed_has_zero_in_its_middle_and_reaches_the_stronger_end() -> None:
    assert signed(grid(-1, 0, 2, 4)).tolist() == [[0.375, 0.5, 0.75, 1]]
    assert signed(grid(-4, 0, 2)).tolist() == [[0, 0.5, 0.75]]
    assert signed(grid(3, 3)).tolist() == [[1, 1]]
    assert signed(grid(0, 0)).tolist() == [[0.5, 0.5]]
    assert signed(grid(-1, 4)).dtype == np.float32


@pytest.mark.contract("quality")
@pytest.mark.parametrize(
    ("values", "peaks", "expected"),
    [
        (grid(-1, 0), None, "empty"),
        (grid(5, -1), None, "ok"),
        (grid(1, -9.1), None, "weak"),  # share 1 / 10.1
        (grid(1, -8.9), None, "ok"),  # share 1 / 9.9
        (grid(1.9, 0), PEAKS, "weak"),  # under the floor of its class
        (grid(2.1, 0), PEAKS, "ok"),
        (grid(1.9, 0), UNRATED, "ok"),
    ],
)
def test_quality(values: Floats, peaks: Peaks | None, expected: str) -> None:
    assert quality(values, peaks) == expected

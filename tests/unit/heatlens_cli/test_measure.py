from itertools import count

import pytest

from heatlens.model import load_model
from heatlens.settings import DEMO_MODEL, LIMITS
from heatlens.types import Upload
from heatlens_cli.measure import WINDOW, explain_repeatedly, is_stable, sample_image


def upload() -> Upload:
    return Upload("sample", sample_image().read_bytes())


@pytest.mark.parametrize(
    ("percentiles", "stable"),
    [([], False), ([10, 10], False), ([10, 10, 10], True), ([10, 10, 11.1], False), ([99, 10, 10.5, 11], True)],
)
def test_three_percentiles_within_a_tenth_are_stable(percentiles: list[float], stable: bool) -> None:  # noqa: FBT001
    assert is_stable(percentiles) is stable


def test_measuring_ends_when_it_is_stable() -> None:
    model, ticks = load_model(DEMO_MODEL), count()

    found = explain_repeatedly(model, [upload()], LIMITS, seconds=1e9, clock=lambda: float(next(ticks)))

    assert found.milliseconds == (1000.0,) * 3 * WINDOW
    assert found.stable
    assert found.percentile(99) == 1000.0
    assert {"decode", "trunk", "encode"} <= set(found.stages)
    assert all(len(taken) == 3 * WINDOW for taken in found.stages.values())


def test_measuring_ends_when_the_time_is_over() -> None:
    model, ticks = load_model(DEMO_MODEL), count()

    found = explain_repeatedly(model, [upload()], LIMITS, seconds=1, clock=lambda: float(next(ticks)))

    assert (len(found.milliseconds), found.stable) == (WINDOW, False)

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from heatlens.card import Card, Cost
from heatlens.engines import timing
from heatlens.engines.timing import fastest, measure_cost, measure_slowdown
from heatlens.types import Floats
from tests.support.tiny import bare_card


class Clock:
    """Advances by what a run takes."""

    def __init__(self, taken: Iterator[float]) -> None:
        self.now, self.taken, self.runs = 0.0, taken, 0

    def perf_counter(self) -> float:
        return self.now

    def run(self) -> None:
        self.runs += 1
        self.now += next(self.taken)


class Engine:
    """Takes a second for each image in the trunk and a tenth in the tail, on the clock of the test."""

    name, precision, device = "timed", "f32", "CPU"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        self.clock.now += len(batch)
        return (np.zeros((len(batch), 1, 1, 1), np.float32),)

    def tail(self, crossing: Sequence[Floats], selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        self.clock.now += 0.1 * len(selector)
        return np.zeros((len(selector), 1), np.float32), crossing[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(iter([0.2, 0.05, 0.1, 0.09, 0.3]))
    monkeypatch.setattr(timing, "time", made)
    return made


def with_cost(cost: Cost | None) -> Card:
    card = bare_card(("NO", "YES"), "sigmoid")
    return card.model_copy(update={"layers": (card.layers[0].model_copy(update={"cost": cost}),)})


def test_the_fastest_run_counts_and_none_begins_after_the_budget(clock: Clock) -> None:
    assert fastest(clock.run, budget_s=0.3) == pytest.approx(0.05)
    assert clock.runs == 3


def test_a_slow_run_is_not_repeated(clock: Clock) -> None:
    clock.taken = iter([7.0])

    assert fastest(clock.run) == 7


def test_passes_are_measured_per_image_of_a_batch(clock: Clock) -> None:
    cost = measure_cost(Engine(clock), with_cost(None), 16)

    assert cost.model_dump() == pytest.approx({"trunk_ms": 1000, "tail_ms": 100, "golden_ms": 1100, "batch": 16})


def test_a_machine_is_slower_by_the_ratio_of_the_two_explanations(clock: Clock) -> None:
    cost = Cost(trunk_ms=1, tail_ms=1, golden_ms=550, batch=16)

    assert measure_slowdown(Engine(clock), with_cost(cost)) == pytest.approx(2)


def test_a_card_without_measured_passes_costs_no_time_at_start(clock: Clock) -> None:
    assert measure_slowdown(Engine(clock), with_cost(None)) is None
    assert clock.now == 0

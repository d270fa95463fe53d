"""Slow images on simulated time: an image that takes long is explained, whatever waits beside it."""

from collections.abc import Sequence

import pytest

from functions.batch import worker
from functions.batch.tasks import Task
from heatlens.model import Model
from heatlens_aws.records import FileState
from tests.chaos.queue import MAX_RECEIVES
from tests.chaos.slow import Case, simulate, table
from tests.chaos.timeline import Killed, Timeline


def test_actors_run_in_the_order_of_their_due_times() -> None:
    timeline, seen = Timeline(), list[tuple[str, float]]()
    start = timeline.now

    def actor(name: str, seconds: float) -> None:
        for _ in range(3):
            timeline.sleep(seconds)
            seen.append((name, timeline.now - start))

    timeline.start(lambda: actor("a", 2))
    timeline.start(lambda: actor("b", 3))
    timeline.run(most_s=8)

    assert seen == [("a", 2), ("b", 3), ("a", 4), ("b", 6), ("a", 6)]


def test_an_actor_is_killed_at_its_timeout_and_its_error_ends_the_simulation() -> None:
    timeline, ends = Timeline(), list[float]()
    start = timeline.now

    def actor() -> None:
        with timeline.killed_after(120):
            timeline.sleep(119)
        with pytest.raises(Killed), timeline.killed_after(120):
            timeline.sleep(121)
        ends.append(timeline.now - start)
        raise LookupError

    timeline.start(actor)
    with pytest.raises(LookupError):
        timeline.run()

    assert ends == [239]


@pytest.mark.parametrize(
    "case",
    [Case(1, 2, files=12), Case(20, 2, files=12), Case(40, 2, files=12), Case(100, 1, files=12)],
    ids=lambda case: f"{case.seconds:g} s",
)
def test_no_healthy_image_fails_however_slow(tiny_model: Model, case: Case) -> None:
    outcome = simulate(tiny_model, case, seed=3)

    assert (outcome.failed, outcome.states) == (0, {FileState.OK: case.files})
    assert outcome.counts["dead letters"] == 0
    assert outcome.counts["functions killed"] == 0


def test_an_image_that_hangs_or_kills_takes_no_other_with_it(tiny_model: Model) -> None:
    outcome = simulate(tiny_model, Case(20, 2, files=12, hanging=1, killing=1), seed=3)

    assert (outcome.failed, outcome.states[FileState.OK]) == (0, 10)
    assert outcome.counts["functions killed"] >= MAX_RECEIVES


def test_if_running_out_of_time_were_a_failure_slow_images_would_fail(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(invocation: worker._Invocation, tasks: Sequence[Task]) -> None:
        for task in tasks:
            invocation._fail(task, TimeoutError())

    monkeypatch.setattr(worker._Invocation, "_postpone", fail)

    assert simulate(tiny_model, Case(40, 1, files=12), seed=3).failed > 0


def test_the_outcome_is_the_same_for_the_same_seed_and_is_written_as_a_table(tiny_model: Model) -> None:
    case = Case(60, 2, files=6)
    first, second = (simulate(tiny_model, case, seed=5) for _ in range(2))

    assert first == second
    assert table([(case, first)]).splitlines()[-1].startswith("| 60 | 2 | 0 | ")

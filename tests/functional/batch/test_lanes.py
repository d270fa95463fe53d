"""A backlog in one lane delays or fails no batch of the other, and fails none that was uploaded in time."""

import pytest

from heatlens.model import Model
from heatlens_aws.object_keys import Lane
from tests.chaos.lanes import Case, simulate

HOUR = 3600


def backlog(hours: float, **named: object) -> Case:
    """Make a case with so many hours of backlog for two bulk functions."""
    case = Case(5, int(hours * HOUR * 2), seconds=1.0, interactive=2, bulk=2, sweep_s=HOUR, step_s=HOUR / 2)
    return Case(**{name: getattr(case, name) for name in case.__dataclass_fields__} | named)


def test_a_small_batch_beside_a_backfill_takes_at_most_three_times_its_time_alone(tiny_model: Model) -> None:
    alone = simulate(tiny_model, backlog(0), 1)
    beside = simulate(tiny_model, backlog(55), 1)
    one_queue = simulate(tiny_model, backlog(55, lanes=False), 1)

    assert (beside.lane, beside.failed) == (Lane.INTERACTIVE, 0)
    assert beside.seconds <= 3 * alone.seconds
    assert one_queue.seconds > 3 * alone.seconds, "the check cannot fail"


@pytest.mark.parametrize("hours", [55, 110])
def test_a_batch_behind_a_backlog_does_not_fail(tiny_model: Model, hours: int) -> None:
    behind = simulate(tiny_model, backlog(hours, interactive_files=0), 1)

    assert (behind.lane, behind.failed) == (Lane.BULK, 0)
    # The queue keeps messages for 96 hours; what it deleted is sent again once, when nothing waits any more.
    assert behind.resent == (0 if hours < 96 else 5)
    assert behind.seconds > hours * HOUR


def test_a_deadline_of_a_day_would_fail_a_batch_behind_a_longer_backlog(tiny_model: Model) -> None:
    behind = simulate(tiny_model, backlog(110, interactive_files=0, deadline_s=24 * HOUR), 1)

    assert behind.failed == 5

"""Slow images on simulated time: an image that takes long is explained, whatever waits beside it."""

import pytest

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

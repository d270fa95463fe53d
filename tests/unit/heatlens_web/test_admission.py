import pytest

from heatlens_aws.errors import Busy, Stopping
from heatlens_web.admission import Admission


def admission(*, most: int = 9, most_bytes: int = 100, small_bytes: int = 10) -> Admission:
    return Admission(most=most, most_bytes=most_bytes, small_bytes=small_bytes)


def test_rejects_one_request_over_the_limit_until_another_has_ended() -> None:
    counted = admission(most=2)
    with counted.admit(1) as first:
        first.work()
        with counted.admit(1) as second:
            second.work()
            assert (counted.in_flight, counted.working) == (2, 2)
            with pytest.raises(Busy), counted.admit(1):
                raise AssertionError("let in")
            assert counted.in_flight == 2
        with counted.admit(1) as third:
            third.work()
            assert counted.in_flight == 2
    assert (counted.in_flight, counted.working) == (0, 0)


def test_requests_whose_bodies_have_not_arrived_refuse_no_other() -> None:
    counted = admission(most=1)
    with counted.admit(1) as slow:
        with counted.admit(1) as fast:
            fast.work()
            with pytest.raises(Busy):
                slow.work()
        slow.work()
    assert counted.working == 0


def test_the_bytes_of_all_bodies_together_are_limited_as_they_arrive() -> None:
    counted = admission()
    with counted.admit(60) as first, counted.admit(60) as second:
        first.receive(60)
        assert counted.held_bytes == 60
        with pytest.raises(Busy), counted.admit(31):
            raise AssertionError("let in")
        second.receive(30)
        with pytest.raises(Busy):
            second.receive(1)
    assert counted.held_bytes == 0


def test_a_body_that_is_announced_and_not_sent_holds_nothing() -> None:
    counted = admission()
    with counted.admit(90), counted.admit(90), counted.admit(90), counted.admit(1) as sent:
        sent.receive(90)


def test_small_bodies_have_bytes_that_large_ones_cannot_take() -> None:
    counted = admission()
    with counted.admit(0) as large, counted.admit(0) as other:
        large.receive(89)
        with pytest.raises(Busy):
            other.receive(11)
        with counted.admit(10) as small:
            small.receive(10)
            with pytest.raises(Busy):
                small.receive(1)


def test_a_request_that_is_alone_may_hold_what_its_own_limits_allow() -> None:
    counted = admission()
    with counted.admit(1_000) as alone:
        alone.receive(600)
        alone.receive(400)
        with pytest.raises(Busy), counted.admit(1):
            raise AssertionError("let in")


def test_a_response_counts_and_is_not_refused() -> None:
    counted = admission()
    with counted.admit(1) as first:
        first.respond(1_000)
        with pytest.raises(Busy), counted.admit(1):
            raise AssertionError("let in")
    assert counted.held_bytes == 0


def test_a_request_that_fails_is_no_longer_in_flight() -> None:
    counted = admission(most=1)

    def fail() -> None:
        with counted.admit(1) as failed:
            failed.work()
            failed.receive(1)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert (counted.in_flight, counted.working, counted.held_bytes) == (0, 0, 0)


def test_once_closed_new_requests_are_rejected_and_running_ones_stay() -> None:
    counted = admission()
    with counted.admit(1) as running:
        counted.closed = True
        with pytest.raises(Stopping), counted.admit(1):
            raise AssertionError("let in")
        with pytest.raises(Stopping):
            counted.check()
        running.receive(1)
        running.work()
        assert counted.in_flight == 1

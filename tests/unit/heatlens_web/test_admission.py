import pytest

from heatlens_aws.errors import Busy, Stopping
from heatlens_web.admission import Admission


def test_rejects_one_request_over_the_limit_until_another_has_ended() -> None:
    admission = Admission(most=2, most_bytes=100)
    with admission.admit(1):
        with admission.admit(1):
            assert admission.in_flight == 2
            with pytest.raises(Busy), admission.admit(1):
                raise AssertionError("let in")
            assert admission.in_flight == 2
        with admission.admit(1):
            assert admission.in_flight == 2
    assert admission.in_flight == 0


def test_the_bytes_of_all_bodies_together_are_limited() -> None:
    admission = Admission(most=9, most_bytes=100)
    with admission.admit(60), admission.admit(40), pytest.raises(Busy), admission.admit(1):
        raise AssertionError("let in")
    with admission.admit(100):
        pass


def test_a_request_that_fails_is_no_longer_in_flight() -> None:
    admission = Admission(most=1, most_bytes=1)
    with pytest.raises(ValueError, match="inside"), admission.admit(1):
        raise ValueError("inside")
    with admission.admit(1):
        assert admission.in_flight == 1


def test_once_closed_new_requests_are_rejected_and_running_ones_stay() -> None:
    admission = Admission(most=9, most_bytes=9)
    with admission.admit(1):
        admission.closed = True
        with pytest.raises(Stopping), admission.admit(1):
            raise AssertionError("let in")
        with pytest.raises(Stopping):
            admission.check()
        assert admission.in_flight == 1

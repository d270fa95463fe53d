import pytest

from heatlens_aws.errors import Busy, Stopping
from heatlens_web.admission import Admission


def test_one_more_than_may_is_refused_and_let_in_once_another_has_left() -> None:
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


def test_bodies_have_no_more_bytes_together_than_they_may() -> None:
    admission = Admission(most=9, most_bytes=100)
    with admission.admit(60), admission.admit(40), pytest.raises(Busy), admission.admit(1):
        raise AssertionError("let in")
    with admission.admit(100):
        pass


def test_who_fails_inside_leaves_too() -> None:
    admission = Admission(most=1, most_bytes=1)
    with pytest.raises(ValueError, match="inside"), admission.admit(1):
        raise ValueError("inside")
    with admission.admit(1):
        assert admission.in_flight == 1


def test_once_closed_nobody_is_let_in_and_who_is_inside_stays() -> None:
    admission = Admission(most=9, most_bytes=9)
    with admission.admit(1):
        admission.closed = True
        with pytest.raises(Stopping), admission.admit(1):
            raise AssertionError("let in")
        with pytest.raises(Stopping):
            admission.check()
        assert admission.in_flight == 1

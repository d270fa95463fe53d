"""The table of conformance is current, and every promise has a test."""

from collections import Counter

from tests.contract.__main__ import PAGE
from tests.contract.rows import names, written
from tests.support.marks import marked


def test_every_promise_has_a_test_and_every_mark_a_promise() -> None:
    proved = set(marked("contract"))

    assert sorted(set(names()) - proved) == []
    assert sorted(proved - set(names())) == []


def test_no_two_promises_share_a_name() -> None:
    assert [name for name, times in Counter(names()).items() if times > 1] == []


def test_the_table_is_current() -> None:
    """If this fails, run `make tables`."""
    assert PAGE.read_text() == written()

"""A repeated event is logged once per period, with a count."""

import logging

import pytest

from heatlens_web.rate_limited_log import PERIOD_S, RateLimitedLog


def test_a_thousand_events_are_one_line_until_the_period_is_over(caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(logging.getLogger("test"), "too many open files")

    for _ in range(1000):
        log.record(5.0)
    log.record(5.0 + PERIOD_S)

    assert caplog.messages == [
        "too many open files (times since the last such line: 1)",
        "too many open files (times since the last such line: 1000)",
    ]

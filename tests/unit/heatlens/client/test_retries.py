"""Pauses grow, are spread at random, and are at least as long as `Retry-After` asks."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import httpx2
import pytest
from tenacity import Retrying

from heatlens.client import retries
from heatlens.client.retries import LONGEST_WAIT_S, TRIES, has_retryable_status, retry_rules


def waits(
    *answers: httpx2.Response | Exception, repeatable: bool = True, tries: int = TRIES
) -> tuple[list[float], httpx2.Response]:
    left, waited = list(answers), list[float]()

    def call() -> httpx2.Response:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    rules = retry_rules(has_retryable_status, repeatable=repeatable, tries=tries)
    return waited, Retrying(**rules, sleep=waited.append)(call)


def test_retries_wait_longer_each_time_and_at_least_as_long_as_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "JITTER", 0)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    waited, answer = waits(
        httpx2.ConnectError("no"),
        httpx2.Response(429, headers={"retry-after": "7"}),
        httpx2.Response(503, headers={"retry-after": soon}),
        httpx2.Response(500, headers={"retry-after": "nonsense"}),
        httpx2.Response(502, headers={"retry-after": "9999999"}),
        httpx2.Response(200),
    )

    assert answer.status_code == 200
    assert waited[:2] == [1, 7]
    assert 55 < waited[2] <= 60
    assert waited[3:] == [8, LONGEST_WAIT_S]


def test_pauses_differ_and_are_never_shorter_than_asked() -> None:
    seen = [waits(httpx2.Response(503, headers={"retry-after": "7"}), httpx2.Response(200))[0][0] for _ in range(50)]

    assert len(set(seen)) == 50
    assert all(7 <= each <= 10.5 for each in seen)
    growing = waits(*[httpx2.ReadError("no")] * (TRIES - 1), httpx2.Response(200))[0]
    assert all(second > first for first, second in pairwise(growing))


def test_retries_are_bounded() -> None:
    waited, answer = waits(*[httpx2.Response(503)] * TRIES, httpx2.Response(200))

    assert (answer.status_code, len(waited)) == (503, TRIES - 1)
    with pytest.raises(httpx2.ReadTimeout):
        waits(*[httpx2.ReadTimeout("no")] * TRIES, httpx2.Response(200))
    assert waits(httpx2.Response(404))[0] == []
    assert waits(httpx2.Response(503), tries=1)[0] == []
    with pytest.raises(httpx2.LocalProtocolError):
        waits(httpx2.LocalProtocolError("ours"))


def test_a_request_that_must_not_be_repeated_is_repeated_only_if_it_was_not_sent() -> None:
    assert len(waits(httpx2.ConnectError("no"), httpx2.Response(200), repeatable=False)[0]) == 1
    with pytest.raises(httpx2.ReadError):
        waits(httpx2.ReadError("lost"), httpx2.Response(200), repeatable=False)

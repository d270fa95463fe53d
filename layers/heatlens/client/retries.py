"""Retry HTTP requests whose failure may be temporary: the same rules for both clients."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

import httpx2
from tenacity import RetryCallState, retry_if_exception, retry_if_result, stop_after_attempt, wait_exponential
from tenacity.retry import retry_base
from tenacity.stop import stop_base

from heatlens.client.errors import RETRYABLE

TRIES = 6
FIRST_WAIT_S = 1.0  # doubled each time: half a minute in all, unless the server asks for more
JITTER = 0.5  # of a pause is added at random, so that many clients do not come back together
LONGEST_WAIT_S = 120.0
# Another try of the same request would fail the same way.
_CLIENT_ERRORS = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
# The server has not received the request.
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

Retryable = Callable[[httpx2.Response], bool]


class RetryRules(TypedDict):
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`."""

    stop: stop_base
    wait: Callable[[RetryCallState], float]
    retry: retry_base
    retry_error_callback: Callable[[RetryCallState], Any]


def has_retryable_status(response: httpx2.Response) -> bool:
    """Return whether the status alone says that another try may succeed, as of a storage."""
    return response.status_code in RETRYABLE


def retry_rules(retryable: Retryable, *, repeatable: bool = True, tries: int = TRIES) -> RetryRules:
    """Return rules for several tries, with pauses that are at least as long as `Retry-After` asks.

    Args:
        retryable: Whether a response is a temporary failure.
        repeatable: Whether a request may be repeated that the server may have received.
        tries: At most so many.
    """

    def broke(error: BaseException) -> bool:
        return isinstance(error, httpx2.TransportError if repeatable else NOT_SENT) and not isinstance(
            error, _CLIENT_ERRORS
        )

    return {
        "stop": stop_after_attempt(tries),
        "wait": _pause,
        "retry": retry_if_exception(broke) | retry_if_result(retryable),
        "retry_error_callback": _last_result,
    }


def _pause(state: RetryCallState) -> float:
    """Seconds before the next try."""
    seconds = float(wait_exponential(multiplier=FIRST_WAIT_S)(state))
    if state.outcome is not None and not state.outcome.failed:
        seconds = max(seconds, _retry_after(state.outcome.result()))
    return min(seconds * random.uniform(1, 1 + JITTER), LONGEST_WAIT_S)  # noqa: S311 - no secret


def _last_result(state: RetryCallState) -> Any:  # noqa: ANN401 - what the call returned; raises what it raised
    assert state.outcome is not None
    return state.outcome.result()


def _retry_after(response: httpx2.Response) -> float:
    """Seconds that a response asks to wait, as a number or a date; 0 where it has neither."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()

"""Retry HTTP calls whose failure may be temporary."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
    wait_exponential,
)

TRIES = 6
FIRST_WAIT_S = 1.0  # doubled each time: half a minute in all, unless the server asks for more
LONGEST_WAIT_S = 120.0
RETRYABLE = {408, 429, 500, 502, 503, 504}
# Another try of the same request would fail the same way.
_CLIENT_ERRORS = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)

Call = Callable[[], httpx2.Response]
Retryable = Callable[[httpx2.Response], bool]


def is_retryable(response: httpx2.Response) -> bool:
    """Return whether another try may succeed."""
    return response.status_code in RETRYABLE


def call_with_retries(
    call: Call, *, retryable: Retryable = is_retryable, wait: Callable[[float], object] = time.sleep
) -> httpx2.Response:
    """Call up to `TRIES` times while the failure may be temporary, waiting at least as long as `Retry-After` asks.

    Args:
        call: Makes the request; called anew for each try.
        retryable: Whether a response is a temporary failure.
        wait: Waits for so many seconds.

    Returns:
        The response, which may be the last of the failures.

    Raises:
        httpx2.TransportError: The last try got no response.
    """

    def sleep(seconds: float) -> None:
        wait(seconds)

    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=_pause,
        retry=retry_if_exception(_is_network_error) | retry_if_result(retryable),
        retry_error_callback=_last_result,
        sleep=sleep,
    )
    return retrying(call)


def _is_network_error(error: BaseException) -> bool:
    return isinstance(error, httpx2.TransportError) and not isinstance(error, _CLIENT_ERRORS)


def _pause(state: RetryCallState) -> float:
    """Seconds before the next try."""
    seconds = wait_exponential(multiplier=FIRST_WAIT_S)(state)
    if state.outcome is None or state.outcome.failed:
        return seconds
    return min(max(seconds, _retry_after(state.outcome.result())), LONGEST_WAIT_S)


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

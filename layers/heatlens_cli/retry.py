"""A call over the network that may fail for a moment -> its answer, or the failure that lasts."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

TRIES = 6
FIRST_WAIT_S = 1.0  # doubled each time: half a minute in all, unless the server asks for more
LONGEST_WAIT_S = 120.0
PASSING = {408, 429, 500, 502, 503, 504}
# Another try of the same request would end the same way.
_OURS = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)

Call = Callable[[], httpx2.Response]
Passing = Callable[[httpx2.Response], bool]


def is_passing(response: httpx2.Response) -> bool:
    """Whether another try may succeed."""
    return response.status_code in PASSING


def patiently(
    call: Call, *, passing: Passing = is_passing, wait: Callable[[float], object] = time.sleep
) -> httpx2.Response:
    """Call, and call again while the failure may pass: `TRIES` times at most, as late as `Retry-After` asks.

    Args:
        call: Made anew for each try.
        passing: Whether an answer is such a failure.
        wait: Waits for so many seconds.

    Returns:
        The answer, which may be the last of the failures.

    Raises:
        httpx2.TransportError: The last try had no answer.
    """
    for turn in range(TRIES - 1):
        seconds = FIRST_WAIT_S * 2**turn
        try:
            response = call()
        except _OURS:
            raise
        except httpx2.TransportError:
            wait(seconds)
            continue
        if not passing(response):
            return response
        wait(min(max(seconds, _retry_after(response)), LONGEST_WAIT_S))
    return call()


def _retry_after(response: httpx2.Response) -> float:
    """Seconds that an answer asks to wait: it says a number, or a date; 0 where it says neither."""
    said = response.headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    return (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()

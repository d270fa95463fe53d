"""Log what a client can repeat without end once a minute, with the number of times that it happened."""

import logging

PERIOD_S = 60


class RateLimitedLog:
    """A message that is logged when it happens first, then once per period with a count. For one event loop."""

    def __init__(self, logger: logging.Logger, message: str, *, level: int = logging.ERROR) -> None:
        """Begin with nothing logged; the message states what is wrong and what to do."""
        self._logger, self._message, self._level = logger, message, level
        self._next = float("-inf")
        self._count = 0

    def record(self, now: float) -> None:
        """Count one event, and log the message if that is due; `now` is in seconds of a monotonic clock."""
        self._count += 1
        if now < self._next:
            return
        self._logger.log(self._level, "%s (times since the last such line: %d)", self._message, self._count)
        self._next = now + PERIOD_S
        self._count = 0

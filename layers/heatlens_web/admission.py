"""Bound the requests in flight: one too many is refused, never queued."""

from collections.abc import Iterator
from contextlib import contextmanager

from heatlens_aws.errors import Busy, Stopping


class Admission:
    """Counts the requests in flight, from their headers to their last byte. For one event loop."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        """Accept requests.

        Args:
            most: Requests in flight at once.
            most_bytes: Bytes of all their bodies together.
        """
        self.in_flight = 0
        self.closed = False
        self._bytes = 0
        self._most, self._most_bytes = most, most_bytes

    def check(self) -> None:
        """Check that new requests are accepted.

        Raises:
            Stopping: The server is shutting down.
        """
        if self.closed:
            raise Stopping("this server is shutting down and accepts no new requests: retry, another one will answer")

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count a request as in flight for as long as the context lasts.

        Args:
            size: Bytes that its body may have.

        Raises:
            Stopping: The server is shutting down.
            Busy: A limit is reached; nothing of the body has been read.
        """
        self.check()
        if self.in_flight >= self._most or self._bytes + size > self._most_bytes:
            raise Busy("this server is at its limit of requests in flight: retry in a moment")
        self.in_flight += 1
        self._bytes += size
        try:
            yield
        finally:
            self.in_flight -= 1
            self._bytes -= size

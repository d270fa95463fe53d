"""A request -> its admission or a refusal: what is in the door at once is bounded, and never queued."""

from collections.abc import Iterator
from contextlib import contextmanager

from heatlens_aws.errors import Busy, Stopping


class Admission:
    """Counts the requests that are inside, from their headers to their last byte. For one event loop."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        """Open the door.

        Args:
            most: Requests inside at once.
            most_bytes: Bytes of all their bodies together.
        """
        self.inside = 0
        self.closed = False
        self._bytes = 0
        self._most, self._most_bytes = most, most_bytes

    def check(self) -> None:
        """Say whether anybody may come in.

        Raises:
            Stopping: Nobody any more.
        """
        if self.closed:
            raise Stopping("this server is shutting down and takes nothing new: ask again, another one will answer")

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Let a request in for as long as the context lasts.

        Args:
            size: Bytes that its body may have.

        Raises:
            Stopping: Nobody is let in any more.
            Busy: There is no room; nothing of the body has been read.
        """
        self.check()
        if self.inside >= self._most or self._bytes + size > self._most_bytes:
            raise Busy("as many requests are being answered as this server may hold: ask again in a moment")
        self.inside += 1
        self._bytes += size
        try:
            yield
        finally:
            self.inside -= 1
            self._bytes -= size

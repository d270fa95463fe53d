"""Bound the requests in flight and the bytes that they hold: one too many is refused, never queued."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Request
from starlette.types import Scope

from heatlens_aws.errors import Busy, Stopping

_KEY = "heatlens.admitted"  # in the scope of a request


class Admission:
    """Counts the requests in flight, and the bytes that they hold. For one event loop.

    A request is in flight from its head to the last byte of its response. Only those whose bodies have arrived count
    towards `most`: clients that send slowly are limited by the connections that a server has, and by the bytes.
    """

    def __init__(self, *, most: int, most_bytes: int, small_bytes: int) -> None:
        """Accept requests.

        Args:
            most: Requests worked on at once.
            most_bytes: Bytes of all their bodies and responses together.
            small_bytes: Bytes of a small body, for which as many are kept free of larger ones.
        """
        self.in_flight = self.working = self.held_bytes = 0
        self.closed = False
        self._most, self._most_bytes, self._small_bytes = most, most_bytes, small_bytes

    def check(self) -> None:
        """Check that new requests are accepted.

        Raises:
            Stopping: The server is shutting down.
        """
        if self.closed:
            raise Stopping("this server is shutting down and accepts no new requests: retry, another one will answer")

    @contextmanager
    def admit(self, declared_bytes: int) -> Iterator["Admitted"]:
        """Count a request as in flight for as long as the context lasts.

        Args:
            declared_bytes: Size of the body by its header, 0 where it has none. It holds nothing yet: a client could
                announce without sending.

        Raises:
            Stopping: The server is shutting down.
            Busy: A limit is reached; nothing of the body has been read.
        """
        self.check()
        self.check_requests()
        self.check_bytes(0, declared_bytes)
        admitted = Admitted(self)
        self.in_flight += 1
        try:
            yield admitted
        finally:
            self.in_flight -= 1
            admitted.end()

    def check_requests(self) -> None:
        """Check that one request more can be worked on.

        Raises:
            Busy: There are too many.
        """
        if self.working >= self._most:
            raise Busy("this server is at its limit of requests in flight: retry in a moment")

    def check_bytes(self, held: int, more: int) -> None:
        """Check that a request that holds some bytes may hold more. One that is alone may always.

        Raises:
            Busy: All requests together would hold too many.
        """
        large = held + more > self._small_bytes
        most = self._most_bytes - self._small_bytes if large else self._most_bytes
        if self.held_bytes > held and self.held_bytes + more > most:
            raise Busy("this server is at its limit of bytes in flight: retry in a moment, or send fewer at a time")


class Admitted:
    """A request in flight, and what it holds."""

    def __init__(self, admission: Admission) -> None:
        """Begin with nothing, while the body arrives."""
        self._admission = admission
        self._held = self._working = 0

    def receive(self, count: int) -> None:
        """Count bytes of the body, inflated where it is compressed.

        Raises:
            Busy: All requests together would hold too many.
        """
        self._admission.check_bytes(self._held, count)
        self.respond(count)

    def respond(self, count: int) -> None:
        """Count bytes of the response: it is made, so it is not refused."""
        self._held += count
        self._admission.held_bytes += count

    def work(self) -> None:
        """Count the request as worked on: its body has arrived.

        Raises:
            Busy: Too many requests are worked on.
        """
        self._admission.check_requests()
        self._working = 1
        self._admission.working += 1

    def end(self) -> None:
        """Give back what the request holds."""
        self._admission.held_bytes -= self._held
        self._admission.working -= self._working


def admitted(scope: Scope) -> Admitted | None:
    """Return what is counted of this request; none on Lambda, where a function has one request at a time."""
    found = scope.get(_KEY)
    assert found is None or isinstance(found, Admitted)
    return found


async def admit(request: Request) -> AsyncIterator[None]:
    """Count a request as in flight until its response is sent: a dependency of the routes that receive images."""
    admission = _admission(request)
    if admission is None:
        yield
        return
    with admission.admit(_declared_bytes(request)) as request.scope[_KEY]:
        yield


async def check_accepting(request: Request) -> None:
    """Check that the server is not shutting down: a dependency of the other routes that change something."""
    if admission := _admission(request):
        admission.check()


def _admission(request: Request) -> Admission | None:
    server = request.app.state.server
    return server and server.admission  # type: ignore[no-any-return]  # the framework's state has no types


def _declared_bytes(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and len(declared) < 19 else 0  # more is refused by the body's limit

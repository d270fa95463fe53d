"""Bound what clients hold of a server: time for a request's head, its bytes and its response; open connections."""

import fcntl
import logging
import struct
import termios
from asyncio import Transport
from dataclasses import dataclass
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET, socket
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from heatlens_web.rate_limited_log import RateLimitedLog
from heatlens_web.security_headers import HEADERS

logger = logging.getLogger(__name__)

LEAST_BYTES = 64 * 1024  # that a client sends or reads in `stall_s` at least

Stage = Literal[
    "head",  # the client has connected, or has begun a further request, and its head is not complete
    "request",  # the application works on it; `slow_bodies` limits the time for its body
    "response",  # the client has not read all of it
    "rest",  # of a body whose request is answered already
    "idle",  # kept open for a further request; uvicorn limits it to `keep_alive_s`
]
WAITING = ("head", "idle")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What clients may hold.

    Attributes:
        head_s: Seconds for a head.
        stall_s: Seconds for the next `LEAST_BYTES` of a body or response.
        most: Connections at once.
        retry_after_s: Seconds in `Retry-After` if there are more.
    """

    head_s: float
    stall_s: float
    most: int
    retry_after_s: int


class Connections(ServerState):
    """The open connections of a server; uvicorn creates each and adds it here."""

    def __init__(self, limits: ConnectionLimits) -> None:
        """Begin without a connection."""
        super().__init__()
        self.limits = limits
        self._full = RateLimitedLog(
            logger, f"refused a connection: {limits.most} are busy, the limit (HEATLENS_CONNECTIONS, open files)"
        )

    @property
    def open(self) -> "list[Connection]":
        """Connections that are not closing."""
        return [each for each in self.connections if isinstance(each, Connection) and not each.transport.is_closing()]

    @property
    def busy(self) -> int:
        """Requests that run, and connections that still carry bytes of one, closing ones included."""
        carrying = [each for each in self.connections if isinstance(each, Connection) and each.stage in _CARRYING]
        return len(self.tasks) + len(carrying)

    def end_stalled(self, now: float) -> None:
        """Close connections whose client was too slow; call this often. `now` is the event loop's time."""
        for connection in list(self.connections):
            if isinstance(connection, Connection):
                connection.end_if_stalled(now)

    def make_room(self, newest: "Connection", now: float) -> None:
        """Keep the limit: close the connection that has waited longest for a request, or else refuse the newest."""
        if len(self.open) <= self.limits.most:
            return
        waiting = [each for each in self.open if each is not newest and each.stage in WAITING]
        if waiting:
            min(waiting, key=lambda each: each.since).transport.close()
        else:
            self._full.record(now)
            newest.refuse(503, "the server is at its limit of connections: retry in a moment")


_CARRYING = ("response", "rest")


class Connection(H11Protocol):
    """A connection that ends if its client makes no progress."""

    server_state: Connections

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request's head."""
        super().connection_made(transport)
        self.since = self.loop.time()  # the stage began, or the last `LEAST_BYTES` were moved
        self._at: tuple[Stage, Any] = ("head", None)
        self._moved = self._mark = self._unsent = 0
        self.server_state.make_room(self, self.since)

    def data_received(self, data: bytes) -> None:
        """Count the bytes and hand them on."""
        self._moved += len(data)
        super().data_received(data)

    def resume_writing(self) -> None:
        """Count what has been written since the transport asked for a pause."""
        self._moved += LEAST_BYTES
        super().resume_writing()

    @property
    def stage(self) -> Stage:
        """What the connection is doing."""
        if unsent_bytes(self.transport):
            return "response"
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, which its type leaves out
        if cycle is None:
            return "head"
        if not cycle.response_complete:
            return "request"
        if self.conn.their_state is h11.SEND_BODY:
            return "rest"
        return "head" if self.conn.trailing_data[0] else "idle"

    def end_if_stalled(self, now: float) -> None:
        """Close the connection if its stage has lasted too long without progress."""
        unsent = unsent_bytes(self.transport)
        self._moved += max(0, self._unsent - unsent)
        self._unsent = unsent
        at = self.stage, self.cycle  # a further request is another stage of the same name
        if at != self._at or (self._moved - self._mark >= LEAST_BYTES and at[0] in _CARRYING):
            self._at, self.since, self._mark = at, now, self._moved
        elif now - self.since > self._limit(at[0]):
            self._end(at[0])

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self.refuse(HTTPStatus.BAD_REQUEST, msg)

    def refuse(self, status: int, reason: str) -> None:
        """Answer outside of any request, and close."""
        body = reason.encode()
        headers = {"content-type": "text/plain", "content-length": str(len(body)), "connection": "close", **HEADERS}
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["retry-after"] = str(self.server_state.limits.retry_after_s)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def _limit(self, stage: Stage) -> float:
        limits = self.server_state.limits
        return {"head": limits.head_s, "response": limits.stall_s, "rest": limits.stall_s}.get(stage, float("inf"))

    def _end(self, stage: Stage) -> None:
        if stage == "response":
            # Without this the system would keep the bytes that nobody reads.
            socket_of(self.transport).setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif stage == "rest":
            self.transport.abort()
        elif self.conn.trailing_data[0]:
            self.refuse(408, "the head of the request did not arrive in time")
        else:
            self.transport.close()


def unsent_bytes(transport: Transport) -> int:
    """Count the bytes that the client has not received: in the transport's buffer, and in the system's."""
    buffered = transport.get_write_buffer_size()
    try:
        queued = fcntl.ioctl(socket_of(transport).fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # the socket is closed, or the system does not count
        return buffered
    return buffered + int(struct.unpack("i", queued)[0])


def socket_of(transport: Transport) -> socket:
    """Return the socket of a transport."""
    found: socket = transport.get_extra_info("socket")  # a wrapper with the methods used here
    return found

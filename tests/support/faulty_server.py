"""A server in front of another that drops connections, refuses, redirects or dies, as a test asks for each request."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

_OF_THIS_HOP = {"connection", "transfer-encoding", "content-length", "host", "date", "server"}


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; `body` is what of it was read."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Fault = Callable[["Handler"], None]
Wanted = Callable[[str, str], bool]  # of a method and a path


@dataclass
class Plan:
    """What to do to the next requests of a kind."""

    wanted: Wanted
    faults: list[Fault]


class Handler(BaseHTTPRequestHandler):
    """Does to each request what is planned for it; others are passed on."""

    protocol_version = "HTTP/1.1"
    server: "FaultyServer"

    def _handle(self) -> None:
        with self.server.lock:
            plans = [plan for plan in self.server.plans if plan.faults and plan.wanted(self.command, self.path)]
            fault = plans[0].faults.pop(0) if plans else passes
        fault(self)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - names of the base class

    def read_body(self, most: int | None = None) -> bytes:
        """Read the body, or its first bytes, and note the request."""
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length if most is None else min(most, length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(Seen(self.command, self.path, headers, body))
        return body

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a response."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.wfile = self.rfile = open("/dev/null", "r+b", buffering=0)  # type: ignore[assignment]  # noqa: SIM115

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as in the base class
        """Print nothing."""


@dataclass
class FaultyServer(ThreadingHTTPServer):
    """Requests as they arrive, and what to do to the next ones."""

    upstream: str | None = None
    plans: list[Plan] = field(default_factory=list)
    rewrite: dict[str, str] = field(default_factory=dict)  # of answers, such as the address of a storage
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    __hash__ = ThreadingHTTPServer.__hash__
    daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:  # noqa: ANN401 - as in the base class
        """Print nothing of a connection that the client has given up."""

    def expect(self, *faults: Fault, of: Wanted = lambda _method, _path: True) -> Plan:
        """Do this to the next requests that are wanted, each in its turn."""
        plan = Plan(of, list(faults))
        self.plans.append(plan)
        return plan

    def calls(self) -> list[str]:
        return [f"{each.method} {each.path.partition('?')[0]}" for each in self.seen]


@contextmanager
def faulty_server(upstream: str | None = None, *script: Fault) -> Iterator[FaultyServer]:
    """Serve until the block ends; requests are passed on to `upstream`."""
    server = FaultyServer(upstream)
    server.expect(*script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def passes(handler: Handler) -> None:
    """Pass the request on, and its answer back."""
    response = _asked(handler)
    headers = {name: value for name, value in response.headers.items() if name not in _OF_THIS_HOP}
    content = response.content
    for old, new in handler.server.rewrite.items():
        content = content.replace(old.encode(), new.encode())
    handler.answer(response.status_code, content, **headers)


def drops(handler: Handler) -> None:
    """Break the connection before the request is done."""
    handler.read_body()
    handler.cut()


def loses_the_answer(handler: Handler) -> None:
    """Do what was asked, and break the connection in place of an answer."""
    _asked(handler)
    handler.cut()


def dies_during_the_upload(handler: Handler) -> None:
    """Break the connection in the middle of the body."""
    handler.read_body(1000)
    handler.cut()


def dies_during_the_answer(handler: Handler) -> None:
    """Break the connection in the middle of the answer."""
    response = _asked(handler)
    handler.send_response(response.status_code)
    handler.send_header("content-length", str(len(response.content)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(response.content[: len(response.content) // 2])
    handler.cut()


def answers(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer so, in place of the server."""

    def fault(handler: Handler) -> None:
        handler.read_body()
        handler.answer(status, body, **headers)

    return fault


def _asked(handler: Handler) -> httpx2.Response:
    assert handler.server.upstream, "there is no server behind this one"
    headers = {name: value for name, value in handler.headers.items() if name.lower() not in _OF_THIS_HOP}
    url = handler.server.upstream + handler.path
    content = handler.read_body()
    return httpx2.request(handler.command, url, headers=headers, content=content, timeout=60)

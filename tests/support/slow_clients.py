"""Clients that connect to a running server by real sockets, and are slow or silent."""

import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.emulator import free_port, wait_for
from tests.support.paths import ROOT

Kind = Literal["serve", "endpoint"]
PATHS: dict[Kind, tuple[str, str]] = {
    "serve": ("/api/inference/ready", "/api/inference/heatmap"),
    "endpoint": ("/ping", "/invocations"),
}
# Short for tests; the smallest that a busy machine cannot miss.
SHORT = {"HEATLENS_HEAD_S": "1", "HEATLENS_STALL_S": "1", "HEATLENS_KEEP_ALIVE_S": "1", "HEATLENS_STOP_S": "60"}
WAIT_S = 60  # after which a test fails; nothing waits so long if the server does what it should


@dataclass
class Served:
    """A running server, its process and what it has logged."""

    kind: Kind
    process: "subprocess.Popen[str]"
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def connect(self, *, receive_bytes: int | None = None) -> socket.socket:
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(WAIT_S)
        client.connect(("127.0.0.1", self.port))
        return client

    def get(self) -> bytes:
        """Ask whether the server is ready, on a connection of its own."""
        with self.connect() as client:
            client.sendall(f"GET {PATHS[self.kind][0]} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            return read_to_end(client)

    def head(self, length: int, *, more: str = "") -> bytes:
        """The head of a request with an image of `length` bytes."""
        first = f"POST {PATHS[self.kind][1]} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n{more}"
        return f"{first}content-length: {length}\r\n\r\n".encode()

    def begin_upload(self, length: int = 1_000_000) -> socket.socket:
        """Send the head of a request and wait until the server reads the body."""
        client = self.connect()
        client.sendall(self.head(length, more="expect: 100-continue\r\n"))
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        return client


@contextmanager
def running(kind: Kind, model: Path, *, open_files: int | None = None, **settings: str) -> Iterator[Served]:
    """Run a server with short time limits until the context ends."""
    port = free_port()
    quiet = {"HEATLENS_LOG_LEVEL": "warning"}  # no line for each request
    environment = os.environ | SHORT | quiet | {"HEATLENS_MODEL_DIR": str(model), "HEATLENS_PORT": str(port)} | settings
    heatlens = Path(sys.executable).parent / "heatlens"
    command = {
        "serve": [str(heatlens), "serve", "--port", str(port)],
        "endpoint": [sys.executable, "-m", "functions.endpoint.serve"],
    }[kind]

    def limit_files() -> None:
        if open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as written:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stderr=written, stdout=written, text=True, preexec_fn=limit_files
            )
        try:
            wait_for(port)
            yield Served(kind, process, port, log)
        finally:
            process.kill()
            process.wait()


def read_to_end(client: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status(answer: bytes) -> int:
    match = re.match(rb"HTTP/1.1 (\d+)", answer)
    assert match, answer[:200]
    return int(match[1])

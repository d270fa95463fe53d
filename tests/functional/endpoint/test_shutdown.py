"""The SageMaker endpoint as a process: on SIGTERM it finishes its requests, refuses new ones, and exits with 0."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.endpoint.app import create_app
from heatlens_web.settings import ServerSettings
from tests.support.emulator import free_port, wait_for
from tests.support.images import encoded, noise
from tests.support.paths import ROOT

IMAGE = encoded(noise((300, 200)))
HALF = len(IMAGE) // 2
COMMAND = [sys.executable, "-m", "functions.endpoint.serve"]


@dataclass
class Served:
    """A running server process."""

    process: "subprocess.Popen[bytes]"
    port: int

    def get(self, path: str = "/ping") -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        return read(connection)

    def post(self, data: bytes) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/invocations", data, {"content-type": "image/png"})
        return read(connection)

    def begin(self) -> HTTPConnection:
        """Send half of a request's body, and wait until the server reads it."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest("POST", "/invocations")
        connection.putheader("content-type", "image/png")
        connection.putheader("content-length", str(len(IMAGE)))
        connection.putheader("expect", "100-continue")  # answered once the server reads the body
        connection.endheaders(IMAGE[:HALF])
        assert connection.sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 100"
        return connection

    def tell(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        # A signal is handled some time after it is sent.
        while self.get()[0] != 503:
            pass


def read(connection: HTTPConnection) -> tuple[int, Any]:
    response: HTTPResponse = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


@pytest.fixture
def serve(tiny_folder: Path) -> Iterator[Callable[..., Served]]:
    running: list[subprocess.Popen[bytes]] = []

    def start(**settings: str) -> Served:
        port = free_port()
        environment = os.environ | {"HEATLENS_MODEL_DIR": str(tiny_folder), "HEATLENS_PORT": str(port)} | settings
        process = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        running.append(process)
        wait_for(port)
        return Served(process, port)

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.provokes("server.stopping")
def test_on_sigterm_a_running_request_is_finished_and_new_ones_are_refused(
    serve: Callable[..., Served], tiny_folder: Path
) -> None:
    served = serve()
    assert served.get() == (200, {})
    under_way = served.begin()
    served.tell()

    for _ in range(100):  # more than fit into the moment in which uvicorn alone would still listen
        for status, problem in (served.get(), served.post(IMAGE)):
            assert (status, problem["code"]) == (503, "server.stopping")
    under_way.send(IMAGE[HALF:])
    status, answer = read(under_way)

    client = TestClient(create_app(ServerSettings(model_dir=tiny_folder)))
    expected = client.post("/invocations", content=IMAGE, headers={"content-type": "image/png"}).json()
    assert status == 200
    assert answer["heatmap_base64"] == expected["heatmap_base64"]
    assert answer["original_image_base64"] == expected["original_image_base64"]
    assert served.process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_a_running_request_it_exits_at_once_with_0(serve: Callable[..., Served], number: int) -> None:
    served = serve()
    served.get()

    served.process.send_signal(number)

    assert served.process.wait(30) == 0


def test_requests_not_finished_in_time_are_abandoned_with_exit_code_1(serve: Callable[..., Served]) -> None:
    served = serve(HEATLENS_STOP_S="0.2")
    under_way = served.begin()

    served.process.send_signal(signal.SIGTERM)

    assert served.process.wait(30) == 1
    under_way.close()


def test_a_second_signal_ends_it_at_once(serve: Callable[..., Served]) -> None:
    served = serve(HEATLENS_STOP_S="3600")
    under_way = served.begin()
    served.tell()

    served.process.send_signal(signal.SIGTERM)

    assert served.process.wait(30) == 1
    under_way.close()


def test_sigterm_ends_it_while_loading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "card.json")
    environment = os.environ | {"HEATLENS_MODEL_DIR": str(tmp_path)}
    process = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        with (tmp_path / "card.json").open("wb"):  # waits for a reader
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()

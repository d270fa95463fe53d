"""Several servers on one port: they answer, one that dies is replaced, all end together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heatlens_cli import serve_workers
from heatlens_cli.events.http_events import HttpRequest
from tests.contract.clients import http_client
from tests.support.paths import HEATLENS

WAIT_S = 60


def eventually(holds: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until, "it never became so"
        time.sleep(0.1)


def children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    words = [str(HEATLENS), "serve", "--port", "0", "--workers", "2", "--log-level", "error"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    return int(process.stdout.readline().split()[2].rpartition(":")[2])


def test_two_servers_answer_and_one_that_dies_is_replaced(parent: subprocess.Popen[str]) -> None:
    ask = http_client(port_of(parent))
    assert json.loads(ask(HttpRequest("/api/inference/health", method="GET")).body)["status"] == "healthy"
    first, second = children(parent.pid)

    os.kill(first, signal.SIGKILL)
    eventually(lambda: len(set(children(parent.pid)) - {first}) == 2)

    assert second in children(parent.pid)
    assert json.loads(ask(HttpRequest("/api/inference/health", method="GET")).body)["status"] == "healthy"
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=WAIT_S)
    assert parent.returncode == 0
    assert [line for line in errors.splitlines() if " INFO " not in line] == [
        "a server ended with -9: another replaces it"
    ]


def test_servers_end_when_their_parent_has_gone(parent: subprocess.Popen[str]) -> None:
    ask = http_client(port_of(parent))
    ask(HttpRequest("/api/inference/health", method="GET"))
    workers = children(parent.pid)

    parent.kill()
    parent.wait(timeout=WAIT_S)

    eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_servers_that_do_not_start_are_not_replaced_for_ever() -> None:
    program = (
        "import socket, sys; from heatlens_cli.serve_workers import run_workers; "
        "sys.exit(run_workers(socket.create_server(('127.0.0.1', 0)), 2, ['--no-such-option']))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True, timeout=120)

    assert done.returncode == 2  # the servers' own
    assert f"{serve_workers.QUICK_DEATHS} servers in a row ended within 10 s, the last with 2" in done.stderr


def test_a_descriptor_that_is_no_socket_is_reported_in_one_line() -> None:
    done = subprocess.run(
        [HEATLENS, "serve", "--fd", "0"], stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True
    )

    assert done.returncode == 1
    assert done.stderr == "--fd 0 is not a socket: Socket operation on non-socket\n"

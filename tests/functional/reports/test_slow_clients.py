"""Clients that stall, drip or only connect are closed in time, others are answered, and SIGTERM ends the server."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import encoded
from tests.support.slow_clients import WAIT_S, Kind, Served, read_to_end, running, status

KINDS: list[Kind] = ["serve", "endpoint"]
# Its answer of 7 MB does not fit into a socket's buffers, of which a small one is the client's.
NOISE = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1100, 1100, 3), np.uint8)))
SMALL = 4096


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Served]:
    with running(request.param, tiny_folder) as server:
        yield server


def drip(client: socket.socket, data: bytes) -> bytes:
    """Send a byte every 50 ms until the server closes the connection; return all that it sent."""
    client.settimeout(0.05)
    received = b""
    for at in range(len(data)):
        try:
            client.send(data[at : at + 1])
            if not (part := client.recv(65536)):
                return received
            received += part
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            return received
    raise AssertionError("the server waits without a limit")


def test_a_head_that_arrives_a_byte_at_a_time_is_refused_in_time(served: Served) -> None:
    with served.connect() as client:
        answer = drip(client, b"GET / HTTP/1.1\r\nx: " + b"a" * 1000)

    assert status(answer) == 408


@pytest.mark.provokes("request.body_too_slow")
def test_a_body_that_arrives_a_byte_at_a_time_is_refused_in_time(served: Served) -> None:
    with served.begin_upload() as client:
        answer = drip(client, b"a" * 1000)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert status(answer) == 408
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "request.body_too_slow"


def test_the_rest_of_a_body_that_is_refused_unread_is_not_awaited_forever(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        answer = drip(client, b"a" * 1000)

    assert status(answer) == 404


def test_a_steady_upload_longer_than_the_limit_is_answered(served: Served) -> None:
    with served.begin_upload(len(NOISE)) as client:
        for at in range(0, len(NOISE), 200_000):
            client.sendall(NOISE[at : at + 200_000])
            time.sleep(0.2)  # 3.6 s together, under a limit of 1 s for each 64 KiB
        assert status(client.recv(65536)) == 200


def test_a_client_that_does_not_read_its_answer_is_closed(served: Served) -> None:
    with served.connect(receive_bytes=SMALL) as client:
        client.sendall(served.head(len(NOISE)) + NOISE)
        wait_for_reset(client)


def wait_for_reset(client: socket.socket) -> None:
    """Wait until the server has aborted the connection, without reading a byte."""
    for _ in range(WAIT_S * 10):
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return
        time.sleep(0.1)
    raise AssertionError("the server waits without a limit")


def test_connections_without_a_request_are_closed(served: Served) -> None:
    with served.connect() as silent, served.connect() as kept:
        kept.sendall(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")

        assert status(read_to_end(kept)) == 404
        assert read_to_end(silent) == b""


def messages(served: Served) -> str:
    """Return the log without the audit line that each request has, and the address that `serve` prints at start."""
    expected = ('"who":', "Heatlens serves")
    return "".join(line for line in served.log.splitlines(keepends=True) if not any(part in line for part in expected))


def test_slow_clients_leave_nothing_in_the_log(served: Served) -> None:
    before = messages(served)
    with served.begin_upload() as client:
        assert status(drip(client, b"a" * 1000)) == 408

    assert "Traceback" not in served.log
    assert messages(served) == before


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_silent_connections_and_64_open_files_leave_the_server_answering(
    kind: Kind, tiny_folder: Path
) -> None:
    with running(kind, tiny_folder, open_files=64, HEATLENS_HEAD_S="600") as served:
        silent = [served.connect() for _ in range(200)]
        answers = [status(served.get()) for _ in range(20)]
        for client in silent:
            client.close()

        assert answers == [200] * 20
        assert len(messages(served)) < 2000, served.log[:5000]


@pytest.mark.parametrize("kind", KINDS)
def test_more_uploads_than_connections_are_refused_with_one_line_in_the_log(kind: Kind, tiny_folder: Path) -> None:
    with running(kind, tiny_folder, HEATLENS_CONNECTIONS="4", HEATLENS_STALL_S="600") as served:
        uploads = [served.begin_upload() for _ in range(4)]
        answers = [status(served.get()) for _ in range(20)]
        for client in uploads:
            client.close()

        assert answers == [503] * 20
        assert served.log.count("HEATLENS_CONNECTIONS") == 1
        assert len(messages(served)) < 2000, served.log


SITUATIONS: dict[str, Callable[[Served], socket.socket]] = {
    "silent": lambda served: served.connect(),
    "half a head": lambda served: sent(served, b"POST / HT"),
    "half a body": lambda served: served.begin_upload(),
    "answer unread": lambda served: sent(served, served.head(len(NOISE)) + NOISE, receive_bytes=SMALL),
}


def sent(served: Served, data: bytes, **options: int) -> socket.socket:
    client = served.connect(**options)
    client.sendall(data)
    return client


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_sigterm_ends_the_server_though_clients_stall(kind: Kind, situation: str, tiny_folder: Path) -> None:
    with running(kind, tiny_folder) as served:
        clients = [SITUATIONS[situation](served) for _ in range(8)]
        assert status(served.get()) == 200

        served.process.send_signal(signal.SIGTERM)

        assert served.process.wait(WAIT_S) == 0  # before STOP_S is over: each client is given up in time
        for client in clients:
            client.close()
        assert "Traceback" not in served.log
        assert len(messages(served)) < 2000, served.log


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_is_read_slowly_is_whole_though_sigterm_comes(kind: Kind, tiny_folder: Path) -> None:
    with running(kind, tiny_folder, HEATLENS_STALL_S="30") as served:
        with served.connect(receive_bytes=SMALL) as client:
            client.sendall(served.head(len(NOISE)) + NOISE)
            answer = client.recv(SMALL)
            served.process.send_signal(signal.SIGTERM)
            time.sleep(3)  # uvicorn's time for the last bytes was 2 s
            answer += read_to_end(client)

        head, _, body = answer.partition(b"\r\n\r\n")
        assert status(head) == 200
        assert len(body) == int(head.lower().partition(b"content-length: ")[2].split()[0])
        assert served.process.wait(WAIT_S) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_unfinished_at_the_end_of_the_time_is_named_in_one_line(kind: Kind, tiny_folder: Path) -> None:
    with running(kind, tiny_folder, HEATLENS_STALL_S="600", HEATLENS_STOP_S="0.5") as served:
        uploads = [served.begin_upload() for _ in range(8)]

        served.process.send_signal(signal.SIGTERM)

        assert served.process.wait(WAIT_S) == 1
        for client in uploads:
            client.close()
        assert served.log.count("requests that were not finished in time: 8") == 1
        assert "Traceback" not in served.log

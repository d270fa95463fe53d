"""A server answers others while it decodes an image whose decoder holds Python's lock; no process outlives it."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from tests.support.dicom import compress, dataset, written
from tests.support.slow_clients import WAIT_S, Kind, Served, read_to_end, running, status

KINDS: list[Kind] = ["serve", "endpoint"]
# Without pictures in the response nearly all of the time is spent on decoding.
QUERY: dict[Kind, tuple[str, str]] = {"serve": ("?include=map", ""), "endpoint": ("", "include=map")}


@pytest.fixture(scope="module")
def large() -> bytes:
    """A DICOM file of 30 megapixels, compressed by JPEG 2000."""
    made = dataset(np.asarray(Image.linear_gradient("L").resize((6000, 5000))))
    compress(made, JPEG2000Lossless)
    return written(made)


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Served]:
    with running(request.param, tiny_folder, HEATLENS_STALL_S="60") as server:
        yield server


def send(served: Served, data: bytes) -> socket.socket:
    """Send an image; its response is not read."""
    query, attributes = QUERY[served.kind]
    head = served.head(len(data), more=f"X-Amzn-SageMaker-Custom-Attributes: {attributes}\r\nconnection: close\r\n")
    client = served.connect()
    client.sendall(head.replace(b" HTTP", f"{query} HTTP".encode(), 1).replace(b"image/png", b"application/dicom"))
    client.sendall(data)
    return client


def children(process: int) -> list[int]:
    return [
        int(child) for path in Path(f"/proc/{process}/task").glob("*/children") for child in path.read_text().split()
    ]


def test_pings_are_answered_while_30_megapixels_of_jpeg_2000_are_decoded(served: Served, large: bytes) -> None:
    wait_until_loaded(served)
    answers: list[bytes] = []
    with send(served, large) as client:
        reader = threading.Thread(target=lambda: answers.append(read_to_end(client)))
        reader.start()
        pings = 0
        while reader.is_alive():
            decodes = computing(served)
            assert status(served.get()) == 200
            pings += decodes and computing(served)
        reader.join()

    assert status(answers[0]) == 200
    assert pings > 20


def wait_until_loaded(served: Served) -> None:
    """Wait until the server's processes have loaded their libraries: they compute for that too."""
    assert status(served.get()) == 200  # it listens before it starts them
    quiet = 0
    while quiet < 20:
        quiet = 0 if computing(served) else quiet + 1
        time.sleep(0.05)


def computing(served: Served) -> bool:
    """Whether a process of the server computes: it decodes."""
    return any("State:\tR" in process_status(each) for each in children(served.process.pid))


def test_an_image_that_is_decoded_too_slowly_is_answered_504_and_the_next_one_as_usual(
    tiny_folder: Path, large: bytes
) -> None:
    with running("serve", tiny_folder, HEATLENS_DECODE_S="0.3") as served:
        with send(served, large) as client:
            answer = read_to_end(client)

        assert status(answer) == 504
        assert b"longer than 0.3 s" in answer
        assert status(served.get()) == 200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_server(served: Served, large: bytes, number: signal.Signals) -> None:
    with send(served, large):
        assert status(served.get()) == 200
        processes = children(served.process.pid)
        served.process.send_signal(number)
        served.process.wait(WAIT_S)

    assert processes
    for _ in range(WAIT_S * 10):
        if not [each for each in processes if runs(each)]:
            return
        time.sleep(0.1)
    raise AssertionError("an orphan is left")


def runs(process: int) -> bool:
    text = process_status(process)
    return text != "" and "State:\tZ" not in text


def process_status(process: int) -> str:
    try:
        return Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""

"""A loop that waits ends at the first signal; a second one ends the process at once."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from heatlens_cli.dicom.stop_signal import StopSignal

SOON_S = 0.1
# Signals go to a process of its own: one that is not caught would end all tests.
PROGRAM = """
import sys, time
from heatlens_cli.dicom.stop_signal import StopSignal

stop, start = StopSignal(), time.monotonic()
with stop.on_signals():
    print("waits", flush=True)
    stop.wait(60)
    stop.wait(60)  # not again
    print(stop.is_set(), time.monotonic() - start < 60, flush=True)
    sys.stdin.read()
"""


@contextmanager
def waiting() -> Iterator[subprocess.Popen[str]]:
    """Start a process that waits, and end it."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert line_of(process) == "waits"
        time.sleep(SOON_S)
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait(number: int) -> None:
    with waiting() as process:
        process.send_signal(number)
        assert line_of(process) == "True True"
        assert process.stdin
        process.stdin.close()

        assert process.wait(timeout=60) == 0


def test_a_second_signal_ends_the_process() -> None:
    with waiting() as process:
        process.send_signal(signal.SIGTERM)
        assert line_of(process) == "True True"
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=60) == 128 + signal.SIGTERM


def test_without_a_signal_a_wait_ends_by_itself() -> None:
    stop = StopSignal()
    stop.wait(0.001)
    stop.wait(-1)

    assert not stop.is_set()


def test_handlers_are_those_of_before_after_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal().on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before

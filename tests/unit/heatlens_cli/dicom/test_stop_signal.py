"""A loop that waits ends at the first signal; a second one ends the process at once."""

import os
import signal
import threading
import time

import pytest

from heatlens_cli.dicom.stop_signal import StopSignal

LONG_S = 60


def signal_soon(number: int) -> None:
    """Send this process a signal once its main thread waits."""
    threading.Timer(0.05, lambda: os.kill(os.getpid(), number)).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait(number: int) -> None:
    stop = StopSignal()
    start = time.monotonic()
    with stop.on_signals():
        signal_soon(number)
        stop.wait(LONG_S)
        stop.wait(LONG_S)  # not again

    assert stop.is_set()
    assert time.monotonic() - start < LONG_S


def test_a_second_signal_ends_the_process() -> None:
    stop = StopSignal()
    with stop.on_signals():
        stop.set()
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGTERM)

    assert ended.value.code == 128 + signal.SIGTERM


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

"""Stop a loop by SIGTERM or SIGINT, also while it waits."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType

# A signal that arrives as a wait begins does not interrupt it: its handler runs once the wait is over.
_SLICE_S = 0.5


class StopSignal:
    """Set once the loop is to end. A `threading.Event` could lock itself: its `set` may not interrupt its `wait`."""

    def __init__(self) -> None:
        self._is_set = False
        self._wake: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Let the loop end, and wake it up."""
        self._is_set = True
        self._wake.put(None)

    def is_set(self) -> bool:
        """Whether the loop is to end."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Wait, at most until it is set."""
        end = time.monotonic() + seconds
        while not self._is_set and (left := end - time.monotonic()) > 0:
            with suppress(Empty):
                self._wake.get(timeout=min(left, _SLICE_S))

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Set it at the first signal within the block; the second ends the process at once."""

        def end(number: int, _frame: FrameType | None) -> None:
            if self._is_set:
                raise SystemExit(128 + number)
            self.set()

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

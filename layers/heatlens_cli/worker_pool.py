"""Several threads that do one thing with many items, and drop everything when the run is interrupted."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

THREADS = 8


class Interrupted(Exception):
    """The run was interrupted; nobody waits for this item any more."""


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Threads; what takes long in one of them asks now and then whether to go on."""

    executor: Executor
    _stop: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise Interrupted if the run was interrupted."""
        if self._stop.is_set():
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """Sleep, but not through an interruption."""
        self._stop.wait(seconds)
        self.check()

    def stop(self) -> None:
        """Let nothing begin any more, and what runs end at its next question."""
        self._stop.set()
        self.executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def open_worker_pool() -> Iterator[WorkerPool]:
    """A crew for as long as the block lasts; Ctrl-C in it does not wait for what was to be done."""
    with ThreadPoolExecutor(THREADS) as executor:
        pool = WorkerPool(executor)
        try:
            yield pool
        except BaseException:
            pool.stop()
            raise

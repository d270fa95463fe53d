"""Process many items in several threads, and stop early when the run is interrupted."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

THREADS = 8


class Interrupted(Exception):
    """The run was interrupted while this item was processed."""


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Threads; a long task in one of them calls `check` regularly."""

    executor: Executor
    _stop: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise Interrupted if the run was interrupted."""
        if self._stop.is_set():
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """Sleep until the time is over or the run is interrupted."""
        self._stop.wait(seconds)
        self.check()

    def stop(self) -> None:
        """Start no further task; running tasks end at their next `check`."""
        self._stop.set()
        self.executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def open_worker_pool() -> Iterator[WorkerPool]:
    """Open a pool for the duration of the block; an exception in the block cancels waiting tasks."""
    with ThreadPoolExecutor(THREADS) as executor:
        pool = WorkerPool(executor)
        try:
            yield pool
        except BaseException:
            pool.stop()
            raise

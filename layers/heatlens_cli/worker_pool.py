"""Several threads that do one thing with many items, and drop everything when the run is interrupted."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

AT_ONCE = 8


class Dropped(Exception):
    """The run was interrupted; nobody waits for this item any more."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Threads; what takes long in one of them asks now and then whether to go on."""

    pool: Executor
    _stop: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        """Raise Dropped if the run was interrupted."""
        if self._stop.is_set():
            raise Dropped

    def wait(self, seconds: float) -> None:
        """Sleep, but not through an interruption."""
        self._stop.wait(seconds)
        self.go_on()

    def stop(self) -> None:
        """Let nothing begin any more, and what runs end at its next question."""
        self._stop.set()
        self.pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def crew() -> Iterator[Crew]:
    """A crew for as long as the block lasts; Ctrl-C in it does not wait for what was to be done."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = Crew(pool)
        try:
            yield made
        except BaseException:
            made.stop()
            raise

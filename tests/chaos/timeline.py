"""Simulated time for actors that run at once: each is a thread, and only the one whose turn it is runs.

An actor runs until it sleeps; then the clock advances to the actor that is due next. The order is that of the due
times, so a seed repeats a simulation.
"""

import heapq
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from math import inf

from tests.chaos.clock import Clock


class Killed(BaseException):
    """The process is killed here; nothing in the product may catch it."""


class _Stopped(BaseException):
    """The simulation is over."""


@dataclass(slots=True)
class _Actor:
    step: Callable[[], None]
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    killed_at: float = inf


class Timeline(Clock):
    """Replaces the module `time` in the product, durations included, and runs actors on simulated time."""

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[float, int, _Actor]] = []
        self._names = count()
        self._main = threading.Semaphore(0)
        self._current: _Actor | None = None
        self._stopped = False
        self._errors: list[BaseException] = []

    def perf_counter(self) -> float:
        """Return the simulated time, so that durations are simulated too."""
        return self.now

    def monotonic(self) -> float:
        """Return the simulated time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the others run until this actor is due again; outside of actors the clock just advances.

        Raises:
            Killed: The actor's process is killed before.
        """
        actor = self._current
        if actor is None:
            self.advance(seconds)
            return
        due = self.now + seconds
        self._wait(actor, min(due, actor.killed_at))
        if due > actor.killed_at:
            raise Killed

    def start(self, step: Callable[[], None]) -> None:
        """Add an actor, which runs from now on."""
        actor = _Actor(step)
        threading.Thread(target=self._live, args=(actor,), daemon=True).start()
        self._add(actor, self.now)

    def run(self, *, most_s: float = inf) -> None:
        """Run all actors to their end, or for a time; then stop those that are left.

        Raises:
            BaseException: What an actor raised.
        """
        end = self.now + most_s
        while self._due and self._due[0][0] <= end and not self._errors:
            self._next()
        self._stopped = True
        while self._due:
            self._next()
        self._current = None
        if self._errors:
            raise self._errors[0]

    @contextmanager
    def killed_after(self, seconds: float) -> Iterator[None]:
        """Kill the actor that is still in the block after a time, at its next sleep."""
        actor = self._current
        assert actor, "only an actor can be killed"
        actor.killed_at = self.now + seconds
        try:
            yield
        finally:
            actor.killed_at = inf

    def _next(self) -> None:
        due, _, self._current = heapq.heappop(self._due)
        self.now = max(self.now, due)
        self._current.turn.release()
        self._main.acquire()

    def _live(self, actor: _Actor) -> None:
        actor.turn.acquire()
        try:
            with suppress(_Stopped):
                if not self._stopped:
                    actor.step()
        except BaseException as error:
            self._errors.append(error)
        self._main.release()

    def _wait(self, actor: _Actor, due: float) -> None:
        self._add(actor, due)
        self._main.release()
        actor.turn.acquire()
        if self._stopped:
            raise _Stopped

    def _add(self, actor: _Actor, due: float) -> None:
        heapq.heappush(self._due, (due, next(self._names), actor))

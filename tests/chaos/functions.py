"""Concurrent batch functions of a queue on simulated time: batches of messages, a timeout that kills, cold starts."""

from collections.abc import Callable
from dataclasses import dataclass

from functions.batch.context import WorkerContext
from functions.batch.messages import parse_messages
from functions.batch.sweep import sweep
from functions.batch.worker import work
from tests.chaos.queue import Letter, Queue
from tests.chaos.timeline import Killed, Timeline
from tests.chaos.world import World

AT_ONCE = 10  # messages of one invocation, as in template.yaml
TIMEOUT_S = 120.0
POLL_S = 5.0
SWEEP_S = 60.0
SWEEPER_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions of one event source: as many invocations at once as its `concurrency`, each in its own process."""

    world: World
    timeline: Timeline
    queue: Queue
    concurrency: int
    timeout_s: float = TIMEOUT_S
    name: str = ""  # in the counts, where there are several queues

    def start(self, done: Callable[[], bool]) -> None:
        """Receive and explain until it is done."""
        for _ in range(self.concurrency):
            self.timeline.start(lambda: self._serve(done))

    def _serve(self, done: Callable[[], bool]) -> None:
        context = self.world.context()
        while not done():
            letters = self.queue.receive(AT_ONCE)
            if not letters:
                self.timeline.sleep(POLL_S)
                continue
            try:
                self._invoke(letters, context)
            except Killed:
                self._count("functions killed")
                context = self.world.context()

    def _invoke(self, letters: list[Letter], context: WorkerContext) -> None:
        self._count("invocations")
        self._count("deliveries", len(letters))
        end = self.timeline.now + self.timeout_s
        event = {"Records": [letter.record for letter in letters]}
        with self.timeline.killed_after(self.timeout_s):
            again = work(context, parse_messages(event), lambda: end - self.timeline.now)
        for letter in letters:
            if letter.id not in again:
                self.queue.delete(letter)

    def _count(self, what: str, many: int = 1) -> None:
        self.world.counts[f"{self.name} {what}".strip()] += many


def start_sweeper(world: World, timeline: Timeline, done: Callable[[], bool], *, every_s: float = SWEEP_S) -> None:
    """Sweep each minute, or at longer intervals to save work, until it is done."""

    def sweep_once() -> None:
        end = timeline.now + SWEEPER_TIMEOUT_S
        sweep(world.account, int(timeline.now), lambda: end - timeline.now)

    def sweeping() -> None:
        while not done():
            sweep_once()
            timeline.sleep(every_s)

    timeline.start(sweeping)

"""Run worlds with random faults: clients, workers and sweeper in turns, and within each other's calls."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from functions.batch.sweep import RESEND_MOST
from heatlens.model import Model
from tests.chaos.bucket import CALM, STORM
from tests.chaos.client import GONE, Client, Habit
from tests.chaos.endpoint import FATES
from tests.chaos.faults import Fault, Plan
from tests.chaos.images import image
from tests.chaos.protections import Protection
from tests.chaos.queue import VISIBILITY_S, Letter
from tests.chaos.steps import deliver, outlive_tombstones, sweep
from tests.chaos.summary import Summary
from tests.chaos.turns import check
from tests.chaos.world import DEADLINE_S, World, world

WORLD_IMAGES = 50
LARGEST_BATCH = 12
DROPS = 0.15
RATES = {Fault.THROTTLED: 0.02, Fault.REFUSED: 0.01, Fault.LOST: 0.01, Fault.BROKEN: 0.01, Fault.CONFLICT: 0.01}
CRASHES, MEANWHILES = 0.3, 0.5
FAR = 12  # mean number of the call at which either happens
HASTE = 0.25  # share of worlds in which the deadline passes while messages wait
TICK_S = 40.0
ROUNDS, ROUND_S = 4, 1600.0  # of the sweeper, after which it takes an event or a notice for lost
REMOTE = 0.15  # share of batches that an endpoint computes
MOST_STEPS = 5000
DROP_NAMES = ("scan {}.png", "a+b/{}.png", "größe&{}.png", "{}")


@dataclass(slots=True)
class Storm:
    """One world's clients, and which of them acts next."""

    world: World
    clients: list[Client]
    drops: list[str]
    letters: list[Letter] = field(default_factory=list)

    def rage(self) -> None:
        """Run until all clients are done, and a while longer."""
        lives = [client.life() for client in self.clients] + [self._dropper()]
        self.world.bucket.weather = STORM
        self.world.container.fates = self._fates()
        for _ in range(MOST_STEPS):
            if not lives:
                break
            self.world.clock.advance(self.world.rng.uniform(0, TICK_S))
            self._turn(lives)
        if lives:
            self.world.surprises.append(f"{len(lives)} clients never got an answer")
        for _ in range(len(self.clients) * 2):
            self.world.clock.advance(self.world.rng.uniform(0, VISIBILITY_S))
            self._work()

    def settle(self) -> None:
        """End the faults, then let the deadline pass, or the other way around."""
        self.world.bucket.weather = CALM
        self.world.container.fates = repeat("told")
        if self.world.rng.random() >= HASTE:
            self._drain()
            for _ in range(ROUNDS):
                self.world.clock.advance(ROUND_S)
                sweep(self.world)
                self._drain()
            self.world.story.quiet = self.world.clock.now
        # What waits in the queue does not expire, and a re-sent event is progress, which moves the deadline.
        for _ in range(1 + RESEND_MOST):
            self.world.clock.advance(DEADLINE_S)
            sweep(self.world)
            sweep(self.world)
            self._drain()
        outlive_tombstones(self.world)

    def plan(self) -> Plan:
        """Plan the faults of one step."""
        rng = self.world.rng
        at = {}
        if rng.random() < CRASHES:
            at[1 + int(rng.expovariate(1 / FAR))] = Fault.CRASH
        if rng.random() < MEANWHILES:
            at[1 + int(rng.expovariate(1 / FAR))] = Fault.MEANWHILE
        return Plan(at=at, rates=RATES, meanwhile=self._meanwhile)

    def _turn(self, lives: list[Iterator[None]]) -> None:
        turn = self.world.rng.random()
        if turn < 0.6:
            life = self.world.rng.choice(lives)
            if next(life, True):
                lives.remove(life)
        elif turn < 0.95:
            self._work()
        else:
            sweep(self.world, self.plan())

    def _work(self) -> None:
        self.letters = self.world.queue.receive(self.world.rng.randint(1, 10))
        deliver(self.world, self.letters, self.plan())
        self.world.container.run()

    def _meanwhile(self) -> None:
        """Let another actor act between two calls, without faults of its own."""
        rng = self.world.rng
        client = rng.choice(self.clients)
        moves: list[tuple[float, Callable[[], object]]] = [
            (0.45, lambda: deliver(self.world, list(self.letters))),
            (0.15, lambda: sweep(self.world)),
            (0.20, self._overwrite_letters),
            (0.05, self._overwrite_drop),
            (0.05, lambda: client.overwrite(rng.randrange(len(client.images)))),
            (0.05, lambda: self._work_on_others()),
            (0.03, lambda: client.batch_id and client.end("cancel")),
            (0.02, lambda: client.batch_id and client.end("purge")),
        ]
        [(_, move)] = rng.choices(moves, [weight for weight, _ in moves])
        with suppress(*GONE):
            move()

    def _work_on_others(self) -> None:
        deliver(self.world)

    def _dropper(self) -> Iterator[None]:
        """Put undeclared objects, sometimes twice under one key."""
        rng, left = self.world.rng, [image(self.world.rng) for _ in self.drops]
        while left:
            yield
            self.world.bucket.put(rng.choice(self.drops), left.pop())

    def _overwrite_drop(self) -> None:
        if self.drops:
            self.world.counts["objects overwritten"] += 1
            self.world.bucket.put(self.world.rng.choice(self.drops), image(self.world.rng))

    def _overwrite_letters(self) -> None:
        """Overwrite objects whose messages a worker has received and may not have read yet."""
        for key in sorted({letter.event.key for letter in self.letters if letter.event}):
            self.world.counts["objects overwritten"] += 1
            self.world.bucket.put(key, image(self.world.rng))

    def _fates(self) -> Iterator[str]:
        while True:
            yield self.world.rng.choice(FATES)

    def _drain(self) -> None:
        while len(self.world.queue) or self.world.container.waiting:
            deliver(self.world)
            self.world.container.run()
            sweep(self.world)
            self.world.clock.advance(VISIBILITY_S / 2)


def at_random(model: Model, seed: int, images: int, summary: Summary, *, without: Protection | None = None) -> None:
    """Send images through one world with random faults."""
    with world(model, seed, summary.counts, without=without) as made:
        storm = _storm(made, images)
        storm.rage()
        storm.settle()
        check(made, summary)
    summary.counts["worlds"] += 1


def _storm(made: World, images: int) -> Storm:
    rng = made.rng
    drops = sum(rng.random() < DROPS for _ in range(images))
    made.counts["images"] += images
    storm = Storm(made, [], [f"drop/{rng.choice(DROP_NAMES).format(rng.randrange(6))}" for _ in range(drops)])
    left = images - drops
    while left:
        size = min(left, rng.randint(1, LARGEST_BATCH))
        files = [image(rng) for _ in range(size)]
        storm.clients.append(Client(made, files, _habit(rng), storm.plan, _options(rng)))
        left -= size
    return storm


def _habit(rng: random.Random) -> Habit:
    [ending] = rng.choices(("close", "cancel", "purge", "forget"), (72, 10, 6, 12))
    return Habit(
        ending=ending,
        early=rng.random() < 0.3,
        skip=0.04,
        wrong=0.04,
        overwrite=0.12,
        repeat=rng.random() < 0.15,
        backend="sagemaker" if rng.random() < REMOTE else "lambda",
    )


def _options(rng: random.Random) -> dict[str, Any]:
    return {
        "colormap": rng.choice(("jet", "hot", "viridis")),
        "alpha": rng.choice((0.1, 0.4, 0.9)),
        "include": rng.choice((["overlay"], ["original", "overlay"], ["map"])),
    }

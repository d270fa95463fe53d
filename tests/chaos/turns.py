"""Repeat small lives with one fault each, at one call after another."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from typing import Any, Self

import boto3

from heatlens.model import Model
from tests.chaos.bucket import CALM, Weather
from tests.chaos.client import GONE, Client, Habit
from tests.chaos.faults import Fault, Plan
from tests.chaos.findings import Broken
from tests.chaos.images import good
from tests.chaos.protections import Protection
from tests.chaos.queue import VISIBILITY_S, Letter
from tests.chaos.reader import Reader
from tests.chaos.steps import deliver, outlive_tombstones, sweep
from tests.chaos.summary import Summary
from tests.chaos.world import DEADLINE_S, World, world

MEANWHILES = ("worker", "sweep", "overwrite", "cancel", "purge")
"""Who else comes in between two calls."""
ON_BATCHES = ("cancel", "purge", "sweep")
THOROUGH = (Fault.CRASH, Fault.BROKEN)  # at every single call, however long the life
LONG = ("cancelled and repeated", "turned away", "endpoint")
ROUNDS, ROUND_S = 3, 905.0  # of the sweeper, who takes an event for lost after a quarter of an hour
DROPS = ("drop/a+b.png", "drop/größe&.png")


@dataclass(frozen=True, slots=True)
class Script:
    """The steps of a life without faults."""

    files: int = 0
    habit: Habit = field(default_factory=Habit)
    drops: int = 0
    weather: Weather = CALM
    busy: bool = False  # a worker takes what there is after each of the client's steps
    untimely: int = 0  # first invocations of the worker that have no time
    unreadable: int = 0  # first invocations of the worker that can read no upload
    fates: Sequence[str] = ("told",)


LIVES = {
    "closed": Script(files=3),
    "cancelled and repeated": Script(files=2, habit=Habit(ending="cancel", repeat=True), busy=True),
    "purged": Script(files=2, habit=Habit(ending="purge"), busy=True),
    "event lost": Script(files=1, weather=Weather(lost=1), untimely=1),
    "dropped": Script(drops=2, weather=Weather(hidden=1, hidden_s=5)),
    "no time for long": Script(files=1, drops=1, untimely=9),
    "never readable": Script(files=1, unreadable=9),
    "unreadable at first": Script(files=2, unreadable=3),
    "turned away": Script(files=1, habit=Habit(backend="sagemaker"), fates=("busy", "doubled")),
    "endpoint": Script(files=3, habit=Habit(backend="sagemaker"), fates=("doubled", "failed", "lost")),
}


@dataclass(slots=True)
class Life:
    """One script's client, and the actor that may interfere."""

    world: World
    script: Script
    client: Client | None
    letters: list[Letter] = field(default_factory=list)
    invocations: int = 0

    @classmethod
    def of(cls, world: World, name: str = "closed") -> Self:
        script = LIVES[name]
        world.bucket.weather, world.container.fates = script.weather, cycle(script.fates)
        files = [good(world.rng) for _ in range(script.files)]
        return cls(world, script, Client(world, files, script.habit) if files else None)

    def live(self) -> None:
        """Run a life; the client, the queue and the sweeper repeat what crashed."""
        for key in DROPS[: self.script.drops]:
            self.world.bucket.put(key, good(self.world.rng))
        for _ in self.client.life() if self.client else ():
            self.world.clock.advance(1)
            if self.script.busy:
                self._work()
        self._drain()
        for _ in range(ROUNDS):
            self.world.clock.advance(ROUND_S)
            sweep(self.world)
            self._drain()
        self.world.story.quiet = self.world.clock.now
        self.world.clock.advance(DEADLINE_S)
        sweep(self.world)
        sweep(self.world)
        outlive_tombstones(self.world)

    def _drain(self) -> None:
        """Work until the queue is empty."""
        while len(self.world.queue) or self.world.container.waiting:
            self._work()
            self.world.clock.advance(VISIBILITY_S / 2)

    def _work(self) -> None:
        self.letters = self.world.queue.receive(10)
        if self.letters:
            self.invocations += 1
            untimely, unreadable = (self.invocations <= most for most in (self.script.untimely, self.script.unreadable))
            deliver(self.world, self.letters, untimely=untimely, unreadable=unreadable)
        self.world.container.run()

    def meanwhile(self, who: str) -> Callable[[], None]:
        """Let another actor act."""
        moves: dict[str, Callable[[], object]] = {
            "worker": lambda: deliver(self.world, self.letters),
            "sweep": lambda: sweep(self.world),
            "overwrite": self._overwrite,
        }

        def move() -> None:
            if who in moves:
                moves[who]()
            elif self.client and self.client.batch_id:
                with suppress(*GONE):
                    self.client.end(who)

        return move

    def _overwrite(self) -> None:
        """Overwrite all uploads, so that the next read finds other bytes."""
        for number in range(self.script.files):
            if self.client:
                self.client.overwrite(number)
        for key in DROPS[: self.script.drops]:
            self.world.bucket.put(key, good(self.world.rng))


@dataclass(frozen=True, slots=True)
class Turns:
    """The life that is repeated, and the fault injected into it."""

    life: str
    trouble: str

    @property
    def apt(self) -> bool:
        """Return whether the fault applies to the life."""
        script = LIVES[self.life]
        if self.trouble in ON_BATCHES:
            return script.habit.ending == "close" and script.files > 1
        return self.trouble != "overwrite" or script.files + script.drops > 1

    @property
    def every(self) -> int:
        """Return the distance of the calls at which the fault is injected; a campaign is to last minutes."""
        return 2 if self.life in LONG and self.trouble not in THOROUGH else 1

    @property
    def fault(self) -> Fault:
        return Fault.MEANWHILE if self.trouble in MEANWHILES else Fault(self.trouble)


def in_turn(
    model: Model, seed: int, summary: Summary, turns: Turns, *, every: int = 0, without: Protection | None = None
) -> None:
    """Live a life without a trouble, then with one at each call that it fits, one after the other, in new worlds.

    `every` takes the place of the turns' own.
    """
    whole = lived(model, seed, summary, turns, without=without)
    places = whole.places(turns.fault)[:: every or turns.every]
    for number in places:
        lived(model, seed, summary, turns, number, without=without)
    summary.counts[f"in turn: {turns.trouble}"] += len(places)


def lived(
    model: Model,
    seed: int,
    summary: Summary,
    turns: Turns,
    number: int | None = None,
    *,
    without: Protection | None = None,
) -> Plan:
    """Run a life once, with the fault at a call or without; return the plan, which has the calls."""
    with world(model, seed, summary.counts, without=without) as made:
        life = Life.of(made, turns.life)
        plan = Plan(at={number: turns.fault} if number else {}, meanwhile=life.meanwhile(turns.trouble))
        with made.faults.step(plan):
            life.live()
        check(made, summary)
        return plan


def check(world: World, summary: Summary) -> None:
    """Let the reader check a world at its end."""
    settings = world.account.settings
    streams = _streams(settings.region)
    reader = Reader(world.raw.s3, world.raw.dynamodb, streams, settings.bucket, settings.table)
    reading = reader.read(world.clock.now, world.story)
    summary.broken += reading.broken + [Broken(8, "a function", surprise) for surprise in world.surprises]
    summary.counts.update(reading.counts)


@cache
def _streams(region: str) -> Any:  # noqa: ANN401 - boto3 has no types
    # The address that botocore makes of the account's number is none that moto answers at.
    return boto3.client(
        "dynamodbstreams", region_name=region, endpoint_url=f"https://streams.dynamodb.{region}.amazonaws.com"
    )

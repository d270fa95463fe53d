"""One small batch, over and over: each time one trouble after one of its calls, the next time after the next."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import boto3

from heatlens.model import Model
from tests.chaos.client import GONE, Client
from tests.chaos.faults import Fault, Plan
from tests.chaos.images import image
from tests.chaos.protections import Protection
from tests.chaos.queue import VISIBILITY_S, Letter
from tests.chaos.reader import Broken, Reader
from tests.chaos.steps import deliver, sweep
from tests.chaos.summary import Summary
from tests.chaos.world import DEADLINE_S, World, world

FILES = 3
MEANWHILES = ("worker", "sweep", "overwrite", "cancel", "purge")
"""Who else comes in between two calls."""


@dataclass(slots=True)
class Life:
    """One batch from its creation to its end, and who may come in between."""

    world: World
    client: Client
    letters: list[Letter]

    @classmethod
    def of(cls, world: World) -> Self:
        return cls(world, Client(world, [image(world.rng) for _ in range(FILES)]), [])

    def live(self) -> None:
        """Whatever dies is done again: by the client, by the queue, by the sweeper."""
        for _ in self.client.life():
            self.world.clock.advance(1)
        self.drain()
        sweep(self.world)
        self.drain()
        self.world.clock.advance(DEADLINE_S)
        sweep(self.world)
        sweep(self.world)

    def drain(self) -> None:
        """Work until the queue is empty."""
        while len(self.world.queue):
            self.letters = self.world.queue.receive(10)
            deliver(self.world, self.letters)
            self.world.clock.advance(VISIBILITY_S / 2)

    def meanwhile(self, who: str) -> Callable[[], None]:
        """Somebody else's move."""
        moves: dict[str, Callable[[], object]] = {
            "worker": lambda: deliver(self.world, self.letters),
            "sweep": lambda: sweep(self.world),
            "overwrite": self.client.overwrite,
        }

        def move() -> None:
            if who in moves:
                moves[who]()
            elif self.client.batch_id:
                with suppress(*GONE):
                    self.client.end(who)

        return move


def in_turn(
    model: Model, seed: int, summary: Summary, trouble: str, *, every: int = 1, without: Protection | None = None
) -> None:
    """Live the same life with a trouble at its first call, at its second, and so on, each time in a new world."""
    number, lives = 1, 0
    while _lived(model, seed, summary, trouble, number, without):
        number, lives = number + every, lives + 1
    summary.counts[f"in turn: {trouble}"] += lives


def _lived(model: Model, seed: int, summary: Summary, trouble: str, number: int, without: Protection | None) -> bool:
    """Live once; whether there was such a call."""
    with world(model, seed, summary.counts, without=without) as made:
        life = Life.of(made)
        fault = Fault.MEANWHILE if trouble in MEANWHILES else Fault(trouble)
        plan = Plan(at={number: fault}, meanwhile=life.meanwhile(trouble))
        with made.faults.step(plan):
            life.live()
        check(made, summary)
        return plan.calls >= number


def check(world: World, summary: Summary) -> None:
    """Let the reader read what is left of a world."""
    settings = world.account.settings
    streams = _streams(settings.region)
    reader = Reader(world.raw.s3, world.raw.dynamodb, streams, settings.bucket, settings.table)
    reading = reader.read(world.clock.now)
    summary.broken += reading.broken + [Broken(8, "a door", surprise) for surprise in world.surprises]
    summary.counts.update(reading.counts)


@cache
def _streams(region: str) -> Any:  # noqa: ANN401 - boto3 has no types
    # The address that botocore makes of the account's number is none that moto answers at.
    return boto3.client(
        "dynamodbstreams", region_name=region, endpoint_url=f"https://streams.dynamodb.{region}.amazonaws.com"
    )

"""Clients that declare a batch, upload, and close, cancel, purge or abandon it, one call at a time."""

import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from heatlens_aws.object_keys import Lane, upload_key
from heatlens_web.errors import BatchClosed, BatchFull, BatchNotFound, BatchUnfinished, NothingToRetry
from heatlens_web.schemas.batches import Backend, FileDeclaration
from tests.chaos.faults import Plan
from tests.chaos.images import image
from tests.chaos.steps import ask
from tests.chaos.story import Asked
from tests.chaos.world import World

Answer = TypeVar("Answer")
Plans = Callable[[], Plan | None]
OWNER = "somebody"
NAME = "Doe^Jane {}.png"  # must appear only in the table and the manifest
OPTIONS: dict[str, Any] = {"colormap": "hot", "alpha": 0.7, "include": ["overlay"]}  # not what drops get
GONE = (BatchNotFound, BatchClosed, BatchFull, BatchUnfinished, NothingToRetry)
POLLS = 12


@dataclass(frozen=True, slots=True)
class Habit:
    """What a client does to its files and its batch; numbers are probabilities per file."""

    ending: str = "close"  # or cancel, purge, forget
    early: bool = False  # the ending may come at any time
    skip: float = 0.0
    wrong: float = 0.0
    overwrite: float = 0.0
    repeat: bool = False  # whether failed files are retried as a new batch
    backend: Backend = "lambda"


@dataclass(slots=True)
class Client:
    """One client and its batch; `plans` gives each call's faults."""

    world: World
    images: list[bytes]
    habit: Habit = field(default_factory=Habit)
    plans: Plans = lambda: None
    options: dict[str, Any] = field(default_factory=OPTIONS.copy)
    batch_id: str = ""

    def life(self) -> Iterator[None]:
        """Yield after each call or upload."""
        try:
            yield from self._life()
        except GONE:
            self.world.counts["clients told that it is too late"] += 1

    def overwrite(self, number: int) -> None:
        """Overwrite a file without its link, as anyone with rights on the bucket can."""
        if self.batch_id:
            self.world.counts["objects overwritten"] += 1
            self.world.bucket.put(upload_key(Lane.INTERACTIVE, self.batch_id, number), image(self.world.rng))

    def end(self, ending: str, plan: Plan | None = None) -> bool:
        """Close, cancel or purge; return whether there was a response."""
        desk, world = self.world.desk, self.world
        calls: dict[str, Callable[[], object]] = {
            "close": lambda: desk.close(desk.find(OWNER, self.batch_id)),
            "cancel": lambda: desk.cancel(desk.find(OWNER, self.batch_id)),
            "purge": lambda: desk.purge(desk.find_or_tombstone(OWNER, self.batch_id)),
        }

        def found_and_ended() -> bool:
            calls[ending]()
            return True

        world.counts[f"calls to {ending}"] += 1
        before = len(world.story.uploads)
        asked = world.story.endings.setdefault(self.batch_id, {}).setdefault(ending, Asked(world.clock.now, before))
        if not ask(world, found_and_ended, plan):
            return False
        asked.answered, asked.uploads = min(asked.answered, world.clock.now), before
        return True

    def _life(self) -> Iterator[None]:
        rng, desk, habit = self.world.rng, self.world.desk, self.habit
        # A call that died may have reserved numbers: leave room to declare the files again.
        expected = 4 * len(self.images)
        created = yield from self._answered(
            lambda: desk.create(OWNER, expected=expected, options=self.options, model="m" * 64, backend=habit.backend)
        )
        self.batch_id = created.batch_id
        numbered = yield from self._declare()
        rng.shuffle(numbered)
        stop = rng.randrange(len(numbered) + 1) if habit.early else len(numbered)
        for number, data in numbered[:stop]:
            yield
            self._upload(number, data)
        if habit.ending == "forget":
            return
        yield from self._ended(habit.ending)
        if habit.ending == "purge":
            self.world.counts["batches purged"] += 1
        elif habit.repeat:
            yield from self._repeat()

    def _declare(self) -> Generator[None, None, list[tuple[int, bytes]]]:
        numbered: list[tuple[int, bytes]] = []
        left = list(self.images)
        while left:
            chunk = left[: self.world.rng.randint(1, 6)]
            numbers = yield from self._answered(partial(self._declared, [declaration(data) for data in chunk]))
            numbered += zip(numbers, chunk, strict=True)
            left = left[len(chunk) :]
        return numbered

    def _declared(self, files: list[FileDeclaration]) -> list[int]:
        desk = self.world.desk
        return [link.number for link in desk.declare(desk.find(OWNER, self.batch_id), files).files]

    def _upload(self, number: int, data: bytes) -> None:
        world, habit, key = self.world, self.habit, upload_key(Lane.INTERACTIVE, self.batch_id, number)
        if world.rng.random() < habit.skip:
            world.counts["uploads left out"] += 1
            return
        if world.rng.random() < habit.wrong:
            world.counts["objects not as declared"] += 1
            data = image(world.rng)
        world.bucket.put(key, data, once=True)
        if world.rng.random() < habit.overwrite:
            world.counts["objects overwritten"] += 1
            world.bucket.put(key, image(world.rng))

    def _ended(self, ending: str) -> Iterator[None]:
        while not self.end(ending, self.plans()):
            yield

    def _repeat(self) -> Iterator[None]:
        """Wait for the end, then retry the failed files as a new batch and request links, which copies the uploads."""
        desk = self.world.desk
        for _ in range(POLLS):
            yield
            status = ask(self.world, lambda: desk.status(desk.find(OWNER, self.batch_id)), self.plans())
            if status and status.time_left_s is None and status.state not in ("open", "running"):
                again = yield from self._answered(lambda: desk.retry(OWNER, self.batch_id, model="m" * 64))
                self.batch_id = again.batch_id
                self.world.counts["batches repeated"] += 1
                yield from self._answered(lambda: desk.links(desk.find(OWNER, self.batch_id), start=0))
                yield from self._ended("close")
                return

    def _answered(self, call: Callable[[], Answer]) -> Generator[None, None, Answer]:
        """Call until there is a response."""
        while True:
            answer = ask(self.world, call, self.plans())
            yield
            if answer is not None:
                return answer


def declaration(data: bytes) -> FileDeclaration:
    """Declare an image as it is."""
    digest = hashlib.sha256(data).hexdigest()
    return FileDeclaration(name=NAME.format(digest[:4]), size=len(data), sha256=digest, media_type="image/png")

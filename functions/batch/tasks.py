"""Items on their way -> groups that are read, explained and committed together."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ulid import ULID

from functions.batch.destinations import Target
from functions.batch.messages import Item
from heatlens.errors import HeatlensError
from heatlens.results import Outcome
from heatlens.types import Options, Upload
from heatlens_aws.settings import StagedLimits


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of an item here; only the states of files are in the table."""

    state: str
    code: str | None = None


FOREIGN, IGNORED, AGAIN = Ended("FOREIGN"), Ended("IGNORED"), "AGAIN"
SETTLED, SUPERSEDED = Ended("SETTLED"), Ended("SUPERSEDED")
SUBMITTED, AGAIN_LATER = Ended("SUBMITTED"), Ended("PENDING")


@dataclass(slots=True)
class Task:
    """One attempt at one item, and what was made of it so far."""

    item: Item
    target: Target
    options: Options
    attempt: str = field(default_factory=lambda: str(ULID()))
    began: float = field(default_factory=time.perf_counter)
    loaded: Upload | HeatlensError | None = None
    outcome: Outcome | None = None
    sha256: str = ""


def groups(tasks: Iterable[Task], limits: StagedLimits, images: int) -> Iterator[list[Task]]:
    """What is read together: alike in options, bounded in number and bytes; after these each suspect alone."""
    alike: dict[Options, list[Task]] = {}
    alone: list[Task] = []
    for task in tasks:
        (alone if task.item.suspect else alike.setdefault(task.options, [])).append(task)
    for same in alike.values():
        yield from bounded(same, lambda task: task.item.created.size or 0, limits.body_bytes, images)
    yield from ([task] for task in alone)


def bounded(tasks: Iterable[Task], size: Callable[[Task], int], most: int, count: int) -> Iterator[list[Task]]:
    """Split into runs of at most `count` tasks and `most` of their sizes together; one alone may be larger."""
    run: list[Task] = []
    total = 0
    for task in tasks:
        more = size(task)
        if run and (len(run) == count or total + more > most):
            yield run
            run, total = [], 0
        run.append(task)
        total += more
    if run:
        yield run

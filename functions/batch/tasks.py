"""Group items that are read, explained and committed together."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ulid import ULID

from functions.batch.destinations import Target
from functions.batch.messages import Item
from heatlens.errors import HeatlensError
from heatlens.results import Outcome
from heatlens.types import Options, Upload
from heatlens_aws.settings import StagedLimits


@dataclass(frozen=True, slots=True)
class ItemEnd:
    """How an item ended in this invocation; only the states of files are in the table."""

    state: str
    code: str | None = None


FOREIGN = ItemEnd("FOREIGN")  # an object of another bucket, or one that no batch declares
IGNORED = ItemEnd("IGNORED")  # an object in a place that is not processed
SETTLED = ItemEnd("SETTLED")  # the file had ended before
SUPERSEDED = ItemEnd("SUPERSEDED")  # the object changed since the event; a newer event exists
SUBMITTED = ItemEnd("SUBMITTED")  # the asynchronous endpoint has it
PENDING = ItemEnd("PENDING")  # the asynchronous endpoint turned it away for now; the sweeper submits it again
REPEATED = 3  # receives from which a message is likely to be one that kills its process
AGAIN = "AGAIN"  # its message is redelivered
DENIED = "DENIED"  # AWS denied access to it, which is no failure of the file: its message is sent again, delayed
LATER = "LATER"  # there was no time for it; its message is sent again as a new one


@dataclass(slots=True, eq=False)
class Task:
    """One attempt at one item, and its results so far."""

    item: Item
    target: Target
    options: Options
    attempt: str = field(default_factory=lambda: str(ULID()))
    began: float = field(default_factory=time.perf_counter)
    loaded: Upload | HeatlensError | None = None
    outcome: Outcome | None = None
    sha256: str = ""


def select(tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """Choose the tasks of an invocation, so that one that kills the process fails no other.

    A suspect that there was no time for runs at once, with nothing beside it. Of those that were received three times
    and more only one runs, the most received.

    Returns:
        Those that run, and the others, whose messages must be sent back before.
    """
    starved = [task for task in tasks if task.item.suspect and task.item.starved]
    repeated = [task for task in tasks if task.item.receives >= REPEATED]
    if not (starved or repeated):
        return list(tasks), []
    first = max(starved or repeated, key=_urgency)
    others = [task for task in (tasks if starved else repeated) if task is not first]
    return [task for task in tasks if task not in others], others


def _urgency(task: Task) -> tuple[int, str]:
    """Order by receives; at the same number in another order each time."""
    item = task.item
    return item.receives, hashlib.sha256(f"{item.identity}{item.receives}".encode()).hexdigest()


def groups(tasks: Iterable[Task], limits: StagedLimits, images: int) -> Iterator[list[Task]]:
    """Group tasks of equal options, bounded in number and bytes; then each suspect alone."""
    alike: dict[Options, list[Task]] = {}
    alone: list[Task] = []
    for task in tasks:
        (alone if task.item.suspect else alike.setdefault(task.options, [])).append(task)
    for same in alike.values():
        yield from bounded(same, lambda task: task.item.created.size or 0, limits.body_bytes, images)
    yield from ([task] for task in alone)


def bounded(tasks: Iterable[Task], size: Callable[[Task], int], most: int, count: int) -> Iterator[list[Task]]:
    """Split into runs of at most `count` tasks and a total size of `most`; a single task may be larger."""
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

"""An object's key -> the row that its result belongs to: a declared file's, or an undeclared object's own."""

import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

from functions.batch.messages import Item
from heatlens.options import from_json
from heatlens.types import Options
from heatlens_aws.batch_table import BatchTable, Outcome
from heatlens_aws.finishing import DEADLINE_CODE
from heatlens_aws.object_keys import DROP, attempt_prefix, drop_prefix
from heatlens_aws.records import Batch, BatchState, FileState

SAGEMAKER = "sagemaker"
End = tuple[FileState, Outcome]


class Foreign(Exception):
    """An object among the uploads that nobody declared."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What was said of the bytes before they came; `None` where nothing was."""

    size: int | None = None
    sha256: str | None = None

    def fits(self, size: int, sha256: str) -> bool:
        """Whether bytes of this size and digest are those."""
        return self.size in (None, size) and self.sha256 in (None, sha256)


class Target(Protocol):
    """Where a result goes."""

    @property
    def undeclared(self) -> bool:
        """Whether nobody but the bucket knows of it: its failure is told there too, its event is never sent again."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """What a log may say of it."""
        ...

    @property
    def options(self) -> Options:
        """How it is to be explained.

        Raises:
            InvalidOption: Another version wrote it, and this one cannot do it.
        """
        ...

    def due(self) -> End | None:
        """The end that it gets without being explained."""
        ...

    def expected(self) -> Expected | None:
        """Read the row: what its bytes must be; `None` where it has its end.

        Raises:
            Foreign: There is no such row.
        """
        ...

    def prefix(self, attempt: str) -> str:
        """Where an attempt at it writes."""
        ...

    def commit(self, state: FileState, outcome: Outcome) -> bool:
        """Give it its end; `False` where it had one."""
        ...

    def purged(self) -> bool:
        """Whether its row was erased."""
        ...


@dataclass(frozen=True, slots=True)
class DeclaredFile:
    """A file of a batch, which is as it was read when the invocation began."""

    jobs: BatchTable
    batch: Batch
    number: int
    undeclared = False

    @property
    def about(self) -> dict[str, Any]:
        return {"batch": self.batch.id, "number": self.number}

    @property
    def options(self) -> Options:
        return _without_original(from_json(self.batch.options))

    @property
    def remote(self) -> bool:
        """Whether an endpoint explains it, and not this function."""
        return self.batch.options.get("backend") == SAGEMAKER

    def due(self) -> End | None:
        if self.batch.ending is BatchState.CANCELLED:
            return FileState.CANCELLED, {}
        return (FileState.FAILED, {"code": DEADLINE_CODE}) if self.batch.ending else None

    def expected(self) -> Expected | None:
        file = self.jobs.file(self.batch.id, self.number)
        if file is None:
            raise Foreign
        return None if file.state.terminal else Expected(file.size, file.sha256)

    def prefix(self, attempt: str) -> str:
        return attempt_prefix(self.batch.id, self.number, attempt)

    def commit(self, state: FileState, outcome: Outcome) -> bool:
        return self.jobs.settle(self.batch.id, self.number, state, outcome)

    def purged(self) -> bool:
        return self.jobs.file(self.batch.id, self.number) is None


@dataclass(frozen=True, slots=True)
class DroppedObject:
    """An object that nobody declared, in the place for such; `life_s` is how long its row is kept."""

    jobs: BatchTable
    item: Item
    life_s: int
    undeclared = True

    @property
    def about(self) -> dict[str, Any]:
        return {"drop": self.item.identity}

    @property
    def options(self) -> Options:
        return _without_original(Options())

    def due(self) -> End | None:
        return None

    def expected(self) -> Expected | None:
        return None if self.jobs.drop(self.item.identity) else Expected()

    def prefix(self, attempt: str) -> str:
        stored = self.item.created.stored
        return drop_prefix(stored.key, stored.identity, attempt)

    def commit(self, state: FileState, outcome: Outcome) -> bool:
        expires_at = int(time.time()) + self.life_s
        return self.jobs.settle_drop(self.item.identity, {"state": state.value, **outcome}, expires_at=expires_at)

    def purged(self) -> bool:
        return False


def is_drop(key: str) -> bool:
    """Whether an object is to be explained though nobody declared it; consoles make empty ones to show folders."""
    return key.startswith(DROP) and not key.endswith("/")


def _without_original(options: Options) -> Options:
    """A staged result never copies the original."""
    return replace(options, include=options.include - {"original"}, original="auto", strip_original=False)

"""Find the table row that an object's result belongs to: a declared file's, or an undeclared object's own."""

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
# Consoles make empty objects that end in / to show folders, Hadoop's tools ones that end in this.
_FOLDER_MARKER, _APPLE_DOUBLE = "_$folder$", "._"
_SYSTEM_FILES = {".DS_Store", "Thumbs.db", "desktop.ini"}


class Foreign(Exception):
    """An object among the uploads that no batch declares."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The declared size and digest; `None` where none was declared."""

    size: int | None = None
    sha256: str | None = None

    def matches(self, size: int, sha256: str) -> bool:
        """Return whether bytes of this size and digest are as declared."""
        return self.size in (None, size) and self.sha256 in (None, sha256)


class Target(Protocol):
    """The destination of a result."""

    @property
    def undeclared(self) -> bool:
        """Whether only the bucket knows it: its failure is written there too, its event is never re-sent."""
        ...

    @property
    def log_fields(self) -> dict[str, Any]:
        """What a log line may say of it."""
        ...

    @property
    def options(self) -> Options:
        """How it is to be explained.

        Raises:
            InvalidOption: Another version wrote an option that this one does not know.
        """
        ...

    def due(self) -> End | None:
        """Return the end that it gets without being explained, if any."""
        ...

    def expected(self) -> Expected | None:
        """Read from the row what its bytes must be; `None` where the file has ended.

        Raises:
            Foreign: There is no such row.
        """
        ...

    def prefix(self, attempt: str) -> str:
        """Return the prefix of the objects that an attempt writes."""
        ...

    def commit(self, state: FileState, outcome: Outcome) -> bool:
        """End it; `False` where it had ended before."""
        ...

    def purged(self) -> bool:
        """Return whether its batch was purged: nothing may be written for it."""
        ...


@dataclass(frozen=True, slots=True)
class DeclaredFile:
    """A file of a batch; the batch is as it was read when the invocation began."""

    jobs: BatchTable
    batch: Batch
    number: int
    undeclared = False

    @property
    def log_fields(self) -> dict[str, Any]:
        return {"batch": self.batch.id, "number": self.number}

    @property
    def options(self) -> Options:
        return _without_original(from_json(self.batch.options))

    @property
    def remote(self) -> bool:
        """Whether the asynchronous endpoint explains it instead of this function."""
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
        return self.jobs.batch(self.batch.id) is None


@dataclass(frozen=True, slots=True)
class DroppedObject:
    """An undeclared object under `drop/`; `life_s` is how long its row is kept, in seconds, or `None` for ever."""

    jobs: BatchTable
    item: Item
    life_s: int | None
    undeclared = True

    @property
    def log_fields(self) -> dict[str, Any]:
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
        expires_at = None if self.life_s is None else int(time.time()) + self.life_s
        return self.jobs.settle_drop(self.item.identity, {"state": state.value, **outcome}, expires_at=expires_at)

    def purged(self) -> bool:
        return False


def is_drop(key: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether an undeclared object is to be explained: none that marks a folder or that a system leaves behind.

    Args:
        key: The object's key.
        suffixes: Endings of the names that are explained, in lower case; none means any.
    """
    name = key.rpartition("/")[2]
    marker = not name or name.endswith(_FOLDER_MARKER) or name.startswith(_APPLE_DOUBLE) or name in _SYSTEM_FILES
    return key.startswith(DROP) and not marker and (not suffixes or name.lower().endswith(suffixes))


def _without_original(options: Options) -> Options:
    """Drop the original from the options: a staged result never copies it."""
    return replace(options, include=options.include - {"original"}, original="auto", strip_original=False)

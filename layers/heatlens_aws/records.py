"""The table's rows as typed records, `Batch` and `File`. Decision 6 has the layout."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from heatlens_aws.object_keys import Lane, upload_key, upload_prefix

FILES_PER_PARTITION = 1000
META = "META"
OPEN_INDEX = "open"
OPEN = "OPEN"

Attributes = dict[str, Any]
_SERIALIZER, _DESERIALIZER = TypeSerializer(), TypeDeserializer()


class FileState(StrEnum):
    """A file moves once from `PENDING` or `SUBMITTED` to one of the others."""

    PENDING = "PENDING"
    SUBMITTED = "SUBMITTED"
    OK = "OK"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    MISSING = "MISSING"

    @property
    def terminal(self) -> bool:
        return self not in OPEN_FILE_STATES


OPEN_FILE_STATES = (FileState.PENDING, FileState.SUBMITTED)


class BatchState(StrEnum):
    """`open` accepts files, `running` no longer does, the others are ends."""

    OPEN = "open"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        return self not in OPEN_BATCH_STATES


OPEN_BATCH_STATES = (BatchState.OPEN, BatchState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a count of a batch's rows has found. A file that has ended never changes, so this stays true.

    Of the numbers below `upto`, those in `open` had not ended, or had no row yet; `counts` are the ends of the others.
    """

    upto: int = 0
    open: tuple[int, ...] = ()
    counts: Counter[FileState] = field(default_factory=Counter)

    @property
    def ended(self) -> int:
        """How many files it knows to have ended."""
        return self.counts.total()

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Read the value of a batch's row."""
        counts = Counter({FileState(state): int(count) for state, count in row["counts"].items()})
        return cls(upto=int(row["upto"]), open=tuple(int(number) for number in row["open"]), counts=counts)

    def as_row(self) -> dict[str, Any]:
        """Return the value that a batch's row has."""
        counts = {state.value: count for state, count in self.counts.items()}
        return {"upto": self.upto, "open": list(self.open), "counts": counts, "ended": self.ended}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One declared batch; times are seconds since 1970.

    `deadline` is when the batch expires unless it makes progress, which moves it.
    """

    id: str
    owner: str
    state: BatchState
    lane: Lane
    expected: int
    declared: int
    options: dict[str, Any]
    model: str
    created: int
    deadline: int
    expires_at: int
    ending: BatchState | None = None  # cancelled or expired, from the decision until the batch has ended
    retry_of: str | None = None
    trace: str | None = None  # of the request that opened it, where tracing is on
    idempotency: str | None = None  # digest of the key of the request that created it
    progress: Progress = Progress()  # as far as a count was remembered

    @classmethod
    def from_attributes(cls, attributes: Attributes) -> Self:
        """Read a row as DynamoDB returns it."""
        row = plain(attributes)
        return cls(
            id=row["PK"].removeprefix("B#"),
            owner=row["owner"],
            state=BatchState(row["state"]),
            lane=Lane(row["lane"]),
            expected=int(row["expected"]),
            declared=int(row["declared"]),
            options=row["options"],
            model=row["model"],
            created=int(row["created"]),
            deadline=int(row["deadline"]),
            expires_at=int(row["expires_at"]),
            ending=BatchState(row["ending"]) if "ending" in row else None,
            retry_of=row.get("retry_of"),
            trace=row.get("trace"),
            idempotency=row.get("idempotency"),
            progress=Progress.from_row(row["progress"]) if "progress" in row else Progress(),
        )

    @property
    def upload_prefix(self) -> str:
        """The prefix of its uploads."""
        return upload_prefix(self.lane, self.id)

    def upload_key(self, number: int) -> str:
        """Return the key of a file's upload."""
        return upload_key(self.lane, self.id, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One declared file; `outcome` holds what was committed with its state."""

    batch: str
    number: int
    state: FileState
    name: str
    size: int
    sha256: str
    media_type: str
    outcome: dict[str, Any] = field(default_factory=dict)
    resends: int = 0  # of its event, which was lost
    resent_at: int = 0  # seconds since 1970

    @classmethod
    def from_attributes(cls, attributes: Attributes) -> Self:
        """Read a row as DynamoDB returns it."""
        row = plain(attributes)
        return cls(
            batch=row["PK"].split("#")[1],
            number=int(row["SK"].removeprefix("F#")),
            state=FileState(row["state"]),
            name=row["name"],
            size=int(row["size"]),
            sha256=row["sha256"],
            media_type=row["media_type"],
            outcome=row.get("outcome", {}),
            resends=row.get("resends", 0),
            resent_at=row.get("resent_at", 0),
        )


def batch_row(batch: Batch) -> Attributes:
    """Write a new batch as a row, which the index of unfinished batches has too."""
    row = {
        "owner": batch.owner,
        "state": batch.state.value,
        "lane": batch.lane.value,
        "expected": batch.expected,
        "declared": batch.declared,
        "options": batch.options,
        "model": batch.model,
        "created": batch.created,
        "deadline": batch.deadline,
        "expires_at": batch.expires_at,
        "open_pk": OPEN,
        "open_sk": f"{batch.created}#{batch.id}",
    }
    optional = {"retry_of": batch.retry_of, "trace": batch.trace, "idempotency": batch.idempotency}
    return batch_key(batch.id) | attributes(row | {name: value for name, value in optional.items() if value})


def file_row(file: File, expires_at: int) -> Attributes:
    """Write a file as a row, without its outcome."""
    row = {
        "state": file.state.value,
        "name": file.name,
        "size": file.size,
        "sha256": file.sha256,
        "media_type": file.media_type,
        "expires_at": expires_at,
    }
    return file_key(file.batch, file.number) | attributes(row)


def batch_key(batch: str) -> Attributes:
    """Return the key of a batch's own row."""
    return attributes({"PK": f"B#{batch}", "SK": META})


def file_key(batch: str, number: int) -> Attributes:
    """Return the key of a file's row."""
    return attributes({"PK": partition(batch, number // FILES_PER_PARTITION), "SK": f"F#{number:05d}"})


def drop_key(identity: str) -> Attributes:
    """Return the key of an undeclared object's row."""
    return attributes({"PK": f"D#{identity}", "SK": "F#0"})


def partition(batch: str, chunk: int) -> str:
    """Name the partition of up to 1,000 files: a large batch spreads over several."""
    return f"B#{batch}#{chunk}"


def attributes(row: dict[str, Any]) -> Attributes:
    """Convert plain values to DynamoDB's; it has no floats, so they become decimals."""
    return {name: _SERIALIZER.serialize(_decimals(value)) for name, value in row.items()}


def plain(attributes: Attributes) -> dict[str, Any]:
    """Convert DynamoDB's values to plain ones."""
    return {name: _numbers(_DESERIALIZER.deserialize(value)) for name, value in attributes.items()}


def _decimals(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {name: _decimals(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decimals(item) for item in value]
    return Decimal(str(value)) if isinstance(value, float) else value


def _numbers(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value

"""Tombstones: the rows that stand for purged batches while anything may still write for them.

A purge replaces a batch's row with its tombstone in one write. From then on the batch is unknown to every reader, no
file of it can be declared, and the sweeper erases its rows and objects, again and again until the tombstone's end. A
tombstone has no name, no label and no option: numbers, times, its state, and a digest of the owner.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from botocore.exceptions import ClientError

from heatlens_aws.conditional_writes import CONDITION_FAILED, Contended, RetryingClient, error_code, retry_contention
from heatlens_aws.object_keys import Lane
from heatlens_aws.records import (
    FILES_PER_PARTITION,
    OPEN_INDEX,
    Attributes,
    Batch,
    attributes,
    batch_key,
    partition,
    plain,
)

PURGES = "PURGES"  # their partition in the index of unfinished batches
NOT_PURGED = "attribute_exists(PK) AND attribute_not_exists(purged_at)"
IS_PURGED = "attribute_exists(purged_at)"
DELETE_CHUNK = 25  # rows in one batch write
KEPT_S = 31 * 24 * 3600  # beyond its end, for a sweeper that does not run


class PurgeState(StrEnum):
    """`purging` until all rows and objects were erased once, then `purged`: what is written late is erased too."""

    PURGING = "purging"
    PURGED = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A purged batch; times are seconds since 1970, `owner` is a digest, `until` is its end."""

    id: str
    owner: str
    state: PurgeState
    lane: Lane
    expected: int
    declared: int
    created: int
    deadline: int
    purged_at: int
    until: int

    @classmethod
    def of(cls, batch: Batch, *, now: int, until: int) -> Self:
        """Make the tombstone of a batch that is purged now."""
        return cls(
            id=batch.id,
            owner=_digest(batch.id, batch.owner),
            state=PurgeState.PURGING,
            lane=batch.lane,
            expected=batch.expected,
            declared=batch.declared,
            created=batch.created,
            deadline=batch.deadline,
            purged_at=now,
            until=until,
        )

    @classmethod
    def from_attributes(cls, row: Attributes) -> Self:
        """Read a row as DynamoDB returns it."""
        values = plain(row)
        numbers = ("expected", "declared", "created", "deadline", "purged_at", "until")
        return cls(
            id=values["PK"].removeprefix("B#"),
            owner=values["owner_sha256"],
            state=PurgeState(values["state"]),
            lane=Lane(values["lane"]),
            **{name: int(values[name]) for name in numbers},
        )

    def is_of(self, owner: str) -> bool:
        """Return whether the batch was this principal's."""
        return self.owner == _digest(self.id, owner)


class Tombstones:
    """The tombstones in the table. Safe to share between threads."""

    def __init__(self, dynamodb: RetryingClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def put(self, tombstone: Tombstone) -> None:
        """Replace a batch's row; one that is purged or gone stays so."""
        with _unless_it_is_none():
            self._dynamodb.put_item(TableName=self._table, Item=_row(tombstone), ConditionExpression=NOT_PURGED)

    def find(self, batch: str) -> Tombstone | None:
        """Read a batch's tombstone, consistently."""
        row = self._dynamodb.get_item(TableName=self._table, Key=batch_key(batch), ConsistentRead=True).get("Item")
        return Tombstone.from_attributes(row) if row and is_tombstone(row) else None

    def due(self, now: int, *, limit: int) -> list[str]:
        """List the ids of purged batches whose next erasure is due, the one that has waited longest first."""
        response = self._dynamodb.query(
            TableName=self._table,
            IndexName=OPEN_INDEX,
            KeyConditionExpression="open_pk = :purges AND open_sk < :after",
            ExpressionAttributeValues=attributes({":purges": PURGES, ":after": str(now + 1)}),
            Limit=limit,
        )
        return [item["PK"]["S"].removeprefix("B#") for item in response["Items"]]

    def postpone(self, batch: str, at: int) -> None:
        """Set when a batch's next erasure is due."""
        self._update(batch, "SET open_sk = :next", {":next": f"{at}#{batch}"})

    def wake(self, batch: str) -> None:
        """Have a purged batch erased by the next sweep, because something was written for it; else do nothing."""
        self.postpone(batch, 0)

    def erased(self, batch: str, at: int) -> None:
        """Note that everything of a batch was erased, and when to look again."""
        values = {":next": f"{at}#{batch}", ":state": PurgeState.PURGED.value}
        self._update(
            batch, "SET #state = :state, open_sk = :next", values, ExpressionAttributeNames={"#state": "state"}
        )

    def remove(self, batch: str) -> None:
        """Delete a tombstone at its end."""
        self._dynamodb.delete_item(TableName=self._table, Key=batch_key(batch))

    def files_left(self, tombstone: Tombstone) -> int:
        """Count the rows of a purged batch's files."""
        pages = (page for chunk in _chunks(tombstone) for page in self._pages(chunk, Select="COUNT"))
        return sum(page["Count"] for page in pages)

    def erase_files(self, tombstone: Tombstone) -> Iterator[int]:
        """Delete the rows of a purged batch's files, at most 25 for each value taken from this iterator.

        Yields:
            How many were deleted.
        """
        for chunk in _chunks(tombstone):
            for page in self._pages(chunk, ProjectionExpression="PK, SK"):
                for start in range(0, len(page["Items"]), DELETE_CHUNK):
                    keys = page["Items"][start : start + DELETE_CHUNK]
                    self._delete([{"DeleteRequest": {"Key": key}} for key in keys])
                    yield len(keys)

    def _delete(self, deletes: list[Any]) -> None:
        """Delete rows; those that the table leaves, for want of capacity, are tried again after growing pauses.

        Raises:
            Contended: The table throttles every try; the next sweep goes on.
        """
        left = list(deletes)

        @retry_contention
        def write() -> None:
            response = self._dynamodb.batch_write_item(RequestItems={self._table: left})
            left[:] = response.get("UnprocessedItems", {}).get(self._table, [])
            if left:
                raise Contended("the table throttles deletions")

        write()

    def _pages(self, chunk: str, **wanted: str) -> Iterator[dict[str, Any]]:
        return self._dynamodb.pages(
            TableName=self._table,
            KeyConditionExpression="PK = :partition",
            ExpressionAttributeValues=attributes({":partition": chunk}),
            ConsistentRead=True,
            **wanted,
        )

    def _update(self, batch: str, update: str, values: dict[str, Any], **names: Any) -> None:  # noqa: ANN401
        """Update a tombstone; one that was removed meanwhile stays so."""
        with _unless_it_is_none():
            self._dynamodb.update_item(
                TableName=self._table,
                Key=batch_key(batch),
                UpdateExpression=update,
                ConditionExpression=IS_PURGED,
                ExpressionAttributeValues=attributes(values),
                **names,
            )


def is_tombstone(row: Attributes) -> bool:
    """Return whether a batch's row is a tombstone."""
    return "purged_at" in row


@contextlib.contextmanager
def _unless_it_is_none() -> Iterator[None]:
    """Leave a row as it is that is not of the expected kind."""
    try:
        yield
    except ClientError as error:
        if error_code(error) != CONDITION_FAILED:
            raise


def _row(tombstone: Tombstone) -> Attributes:
    row = {
        "owner_sha256": tombstone.owner,
        "state": tombstone.state.value,
        "lane": tombstone.lane.value,
        "expected": tombstone.expected,
        "declared": tombstone.declared,
        "created": tombstone.created,
        "deadline": tombstone.deadline,
        "purged_at": tombstone.purged_at,
        "until": tombstone.until,
        "expires_at": tombstone.until + KEPT_S,
        "open_pk": PURGES,
        "open_sk": f"{tombstone.purged_at}#{tombstone.id}",
    }
    return batch_key(tombstone.id) | attributes(row)


def _chunks(tombstone: Tombstone) -> list[str]:
    """Name the partitions that may hold files: numbers are below the expected one, whatever was declared since."""
    return [partition(tombstone.id, chunk) for chunk in range(-(-tombstone.expected // FILES_PER_PARTITION))]


def _digest(batch: str, owner: str) -> str:
    return hashlib.sha256(f"{batch}\n{owner}".encode()).hexdigest()

"""Batches and files in DynamoDB: every change is one conditional write, every count reads the rows."""

import contextlib
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from heatlens_aws.conditional_writes import (
    CONDITION_FAILED,
    Contended,
    InvalidTransition,
    RetryingClient,
    cancellation_codes,
    error_code,
    retry_contention,
)
from heatlens_aws.creation import Creations
from heatlens_aws.records import (
    FILES_PER_PARTITION,
    OPEN,
    OPEN_BATCH_STATES,
    OPEN_FILE_STATES,
    OPEN_INDEX,
    Attributes,
    Batch,
    BatchState,
    File,
    FileState,
    Progress,
    attributes,
    batch_key,
    batch_row,
    drop_key,
    file_key,
    file_row,
    partition,
    plain,
)
from heatlens_aws.tombstones import NOT_PURGED, Tombstones, is_tombstone

Outcome = dict[str, Any]
WRITE_CHUNK = 99  # rows in one transaction, which takes a hundred and checks the batch with one
READ_CHUNK = 100  # rows in one batch read


@dataclass(frozen=True, slots=True)
class Declared:
    """What a client declares of one file before it uploads it; `sha256` is hex."""

    name: str
    size: int
    sha256: str
    media_type: str


class BatchTable:
    """The table. Safe to share between threads; holds only the client and the table's name.

    `creations` creates batches for clients, with keys and quotas; `tombstones` are the rows that stand for purged
    batches.
    """

    def __init__(self, dynamodb: Any, table: str) -> None:  # noqa: ANN401 - boto3 has no types
        self._dynamodb = RetryingClient(dynamodb)
        self._table = table
        self.tombstones = Tombstones(self._dynamodb, table)
        self.creations = Creations(self._dynamodb, table)

    # Batches

    def create(self, batch: Batch) -> None:
        """Write a new batch, never over another.

        Raises:
            InvalidTransition: There is a batch of this id.
        """
        # A first try may have succeeded and its response been lost: then the client library's second finds it.
        if not self._put_new(batch_row(batch)) and self.batch(batch.id) != batch:
            raise InvalidTransition

    def batch(self, batch: str) -> Batch | None:
        """Read a batch, consistently; a purged one is `None`."""
        row = self._get(batch_key(batch))
        return Batch.from_attributes(row) if row and not is_tombstone(row) else None

    def close(self, batch: str) -> None:
        """Accept no more files. Closing again changes nothing.

        Raises:
            InvalidTransition: The batch has ended.
        """
        if not self._update_open_batch(batch, "SET #state = :running", {":running": BatchState.RUNNING.value}):
            raise InvalidTransition

    def decide_end(self, batch: str, ending: BatchState, now: int) -> None:
        """Decide that a batch is cancelled or expired; the next call that sees it settles its files.

        Raises:
            InvalidTransition: The batch has ended, or it is to expire and its deadline has moved.
        """
        update = "SET #state = :running, ending = if_not_exists(ending, :ending), open_sk = :next"
        values = {":running": BatchState.RUNNING.value, ":ending": ending.value, ":next": f"{now}#{batch}"}
        due = "deadline <= :now" if ending is BatchState.EXPIRED else ""
        if not self._update_open_batch(batch, update, values | ({":now": now} if due else {}), also=due):
            raise InvalidTransition

    def extend_deadline(self, batch: str, deadline: int) -> None:
        """Move the deadline of an open batch forward, never back."""
        values = {":deadline": deadline}
        also = "attribute_not_exists(ending) AND deadline < :deadline"
        self._update_open_batch(batch, "SET deadline = :deadline", values, also=also)

    def finish(self, batch: Batch, state: BatchState, counts: Counter[FileState]) -> bool:
        """End a batch, unless it has ended or another end was decided meanwhile.

        Args:
            batch: As read.
            state: Its end.
            counts: The ends of its files, from all its rows, so that no later call reads them again.

        Returns:
            Whether this call did it.
        """
        progress = Progress(upto=batch.declared, counts=counts).as_row()
        values = {":state": state.value, ":running": BatchState.RUNNING.value, ":progress": progress}
        ending = "attribute_not_exists(ending)"
        if batch.ending:
            ending, values = "ending = :ending", values | {":ending": batch.ending.value}
        return self._update(
            batch_key(batch.id),
            "SET #state = :state, progress = :progress REMOVE open_pk, open_sk",
            condition=f"#state = :running AND {ending}",
            values=values,
        )

    def remember(self, batch: str, progress: Progress) -> None:
        """Note what a count has found, unless the batch has ended or another count has found more.

        Both are true, so a lost note costs reading only.
        """
        values = {":progress": progress.as_row(), ":ended": progress.ended}
        more = "(attribute_not_exists(progress) OR progress.ended < :ended)"
        self._update_open_batch(batch, "SET progress = :progress", values, also=more)

    def postpone(self, batch: str, at: int) -> None:
        """Move an unfinished batch behind the others in the sweeper's order."""
        self._update_open_batch(batch, "SET open_sk = :next", {":next": f"{at}#{batch}"})

    def unfinished(self, *, limit: int) -> list[str]:
        """List the ids of batches that have not ended, those swept longest ago first."""
        response = self._dynamodb.query(
            TableName=self._table,
            IndexName=OPEN_INDEX,
            KeyConditionExpression="open_pk = :open",
            ExpressionAttributeValues=attributes({":open": OPEN}),
            Limit=limit,
        )
        return [item["PK"]["S"].removeprefix("B#") for item in response["Items"]]

    # Files

    def declare(self, batch: Batch, files: list[Declared], *, at: int | None = None) -> list[File]:
        """Reserve numbers for files, then write their rows.

        With `at`, the files are to have the numbers from there on, and the call can be repeated: it does what an
        earlier one, which may still run, has not done.

        One conditional write reserves the numbers. A crash before the rows are written leaves numbers without a row,
        which no client was given; `fill_gap` ends them once the batch accepts no more files.

        Raises:
            InvalidTransition: The batch accepts no more files, or not so many.
            Contended: Other calls keep declaring files of the same batch.
        """
        first = self._reserve_numbers(batch.id, len(files), at)
        rows = [
            File(
                batch=batch.id,
                number=first + index,
                state=FileState.PENDING,
                name=file.name,
                size=file.size,
                sha256=file.sha256,
                media_type=file.media_type,
            )
            for index, file in enumerate(files)
        ]
        for start in range(0, len(rows), WRITE_CHUNK):
            # An earlier call may have written the same rows.
            with contextlib.suppress(*() if at is None else (InvalidTransition,)):
                self._write_files(batch, rows[start : start + WRITE_CHUNK])
        return rows

    @retry_contention
    def _reserve_numbers(self, batch: str, count: int, at: int | None) -> int:
        """Advance the batch's `declared` by `count`, unless it is beyond `at` already, and return what it was.

        An addition would count twice when the client library repeats a write whose response was lost. `taken_by`
        tells a repeated write from another call's.
        """
        token = secrets.token_hex(8)
        current = self.batch(batch)
        if current is None:
            raise InvalidTransition
        first = current.declared if at is None else at
        if current.declared >= first + count:
            return first
        if not _has_room(current, first + count):
            raise InvalidTransition
        values = {":before": current.declared, ":after": first + count, ":token": token}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=batch_key(batch),
                UpdateExpression="SET declared = :after, taken_by = :token",
                ConditionExpression="#state = :open AND attribute_not_exists(ending) AND declared = :before",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=attributes(values | {":open": BatchState.OPEN.value}),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if error_code(error) != CONDITION_FAILED:
                raise
            if plain(error.response.get("Item", {})).get("taken_by") != token:
                raise Contended("other calls keep declaring files of this batch") from error
        return first

    def file(self, batch: str, number: int) -> File | None:
        """Read a file, consistently."""
        row = self._get(file_key(batch, number))
        return File.from_attributes(row) if row else None

    def files(self, batch: Batch, *, start: int = 0, limit: int | None = None) -> Iterator[File]:
        """Read a batch's files from number `start` on, in order and consistently."""
        left = batch.declared if limit is None else limit
        for chunk in range(start // FILES_PER_PARTITION, -(-batch.declared // FILES_PER_PARTITION)):
            for row in self._partition(batch.id, chunk, start):
                if left <= 0:
                    return
                left -= 1
                yield File.from_attributes(row)

    def files_at(self, batch: str, numbers: Sequence[int]) -> dict[int, File]:
        """Read up to a hundred of a batch's files, consistently; numbers without a row are left out."""
        files = [File.from_attributes(row) for row in self._get_all([file_key(batch, number) for number in numbers])]
        return {file.number: file for file in files}

    def fill_gap(self, batch: Batch, number: int) -> None:
        """Write the row of a number that was reserved and never used, as missing; an existing row stays."""
        gap = File(batch=batch.id, number=number, state=FileState.MISSING, name="", size=0, sha256="", media_type="")
        with contextlib.suppress(InvalidTransition):
            self._write_files(batch, [gap])

    def settle(self, batch: str, number: int, state: FileState, outcome: Outcome) -> bool:
        """End a file, unless it has ended: the commit, and every cancellation, expiry and loss.

        Returns:
            Whether this call did it; `False` means that the file had ended, and stays as it is.
        """
        return self._move_file(batch, number, state, outcome, allowed=OPEN_FILE_STATES)

    def submit(self, batch: str, number: int, outcome: Outcome) -> bool:
        """Note that a file was submitted to the asynchronous endpoint; `outcome` has the location of its response."""
        return self._move_file(batch, number, FileState.SUBMITTED, outcome, allowed=(FileState.PENDING,))

    def withdraw(self, file: File) -> bool:
        """Make a submitted file pending again, because the endpoint turned its attempt away.

        Returns:
            Whether this call did it; `False` means that it has ended, or that another attempt is under way.
        """
        return self._update(
            file_key(file.batch, file.number),
            "SET #state = :pending REMOVE outcome",
            condition="#state = :submitted AND outcome.attempt = :attempt",
            values={
                ":pending": FileState.PENDING.value,
                ":submitted": FileState.SUBMITTED.value,
                ":attempt": file.outcome["attempt"],
            },
        )

    def count_resend(self, file: File, *, now: int, after_s: int, most: int) -> bool:
        """Note that a pending file's lost event is sent again, at least `after_s` seconds after the last time.

        Returns:
            Whether it may be sent: the file is pending, this is not too soon, and at most `most` times in all.
        """
        return self._update(
            file_key(file.batch, file.number),
            "SET resent_at = :now ADD resends :one",
            condition="#state = :pending AND (attribute_not_exists(resends) OR "
            "(resent_at <= :before AND resends < :most))",
            values={
                ":pending": FileState.PENDING.value,
                ":now": now,
                ":before": now - after_s,
                ":one": 1,
                ":most": most,
            },
        )

    # Undeclared objects

    def settle_drop(self, identity: str, outcome: Outcome, *, expires_at: int | None) -> bool:
        """Commit an undeclared object, once per identity.

        Returns:
            Whether this call did it.
        """
        expiry = {} if expires_at is None else {"expires_at": expires_at}
        return self._put_new(drop_key(identity) | attributes({"outcome": outcome} | expiry))

    def drop(self, identity: str) -> Outcome | None:
        """Read the outcome of an undeclared object."""
        row = self._get(drop_key(identity))
        return plain(row)["outcome"] if row else None

    # Calls to DynamoDB

    def _get(self, key: Attributes) -> Attributes | None:
        response = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        row: Attributes | None = response.get("Item")
        return row

    def _get_all(self, keys: list[Attributes]) -> list[Attributes]:
        """Get up to a hundred rows; those that the table returns later, for want of capacity, are asked for again."""
        rows: list[Attributes] = []
        left = list(keys)

        @retry_contention
        def get() -> None:
            response = self._dynamodb.batch_get_item(RequestItems={self._table: {"Keys": left, "ConsistentRead": True}})
            rows.extend(response["Responses"].get(self._table, []))
            left[:] = response.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if left:
                raise Contended("the table throttles reads")

        if left:
            get()
        return rows

    def _put_new(self, row: Attributes) -> bool:
        """Put a row unless there is one of its key; return whether this call did it."""
        return self._write_if(self._dynamodb.put_item, Item=row, ConditionExpression="attribute_not_exists(PK)")

    def _update(self, key: Attributes, update: str, *, condition: str, values: dict[str, Any]) -> bool:
        """Update a row if a condition holds, where `#state` is its state; return whether it held."""
        return self._write_if(
            self._dynamodb.update_item,
            Key=key,
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues=attributes(values),
        )

    def _update_open_batch(self, batch: str, update: str, values: dict[str, Any], *, also: str = "") -> bool:
        states = {f":s{index}": state.value for index, state in enumerate(OPEN_BATCH_STATES)}
        condition = f"#state IN ({', '.join(states)})" + (f" AND {also}" if also else "")
        return self._update(batch_key(batch), update, condition=condition, values=values | states)

    def _move_file(
        self, batch: str, number: int, state: FileState, outcome: Outcome, *, allowed: Iterable[FileState]
    ) -> bool:
        states = {f":s{index}": old.value for index, old in enumerate(allowed)}
        return self._update(
            file_key(batch, number),
            "SET #state = :state, outcome = :outcome",
            condition=f"#state IN ({', '.join(states)})",
            values={":state": state.value, ":outcome": outcome} | states,
        )

    def _write_if(self, call: Any, **arguments: Any) -> bool:  # noqa: ANN401 - boto3 has no types
        try:
            call(TableName=self._table, **arguments)
        except ClientError as error:
            if error_code(error) == CONDITION_FAILED:
                return False
            raise
        return True

    def _write_files(self, batch: Batch, files: list[File]) -> None:
        """Put up to `WRITE_CHUNK` new rows while their batch exists and is not purged: no name may be written later."""
        batch_exists = {
            "TableName": self._table,
            "Key": batch_key(batch.id),
            "ConditionExpression": NOT_PURGED,
        }
        puts = [
            {
                "Put": {
                    "TableName": self._table,
                    "Item": file_row(file, batch.expires_at),
                    "ConditionExpression": "attribute_not_exists(PK)",
                }
            }
            for file in files
        ]
        self._transact([{"ConditionCheck": batch_exists}, *puts])

    def _transact(self, items: list[dict[str, Any]]) -> None:
        """Write all items or none."""
        try:
            self._dynamodb.transact_write_items(TransactItems=items)
        except ClientError as error:
            if "ConditionalCheckFailed" in cancellation_codes(error):
                raise InvalidTransition from error
            raise

    def _partition(self, batch: str, chunk: int, start: int) -> Iterator[Attributes]:
        pages = self._dynamodb.pages(
            TableName=self._table,
            KeyConditionExpression="PK = :partition AND SK >= :start",
            ExpressionAttributeValues=attributes({":partition": partition(batch, chunk), ":start": f"F#{start:05d}"}),
            ConsistentRead=True,
        )
        for page in pages:
            yield from page["Items"]


def _has_room(batch: Batch, declared: int) -> bool:
    return batch.state is BatchState.OPEN and not batch.ending and declared <= batch.expected

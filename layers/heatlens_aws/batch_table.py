"""Batches and files in DynamoDB: every move is one conditional write, every count is a recount."""

import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from heatlens_aws.records import (
    FILES_PER_PARTITION,
    META,
    OPEN,
    OPEN_BATCH_STATES,
    OPEN_FILE_STATES,
    OPEN_INDEX,
    Attributes,
    Batch,
    BatchState,
    File,
    FileState,
    attributes,
    batch_key,
    file_key,
    partition,
    plain,
)

Outcome = dict[str, Any]
WRITE_CHUNK = 99  # rows in one transaction, which takes a hundred and checks the batch with one
DELETE_CHUNK = 25  # rows in one batch write
TURNS = 8  # tries at a row that others write at the same time
FIRST_PAUSE_S = 0.02  # before the second try at most; twice that before the third, and so on
CONDITION_FAILED = "ConditionalCheckFailedException"


class InvalidTransition(Exception):
    """The row is not in a state that allows the move; nothing was changed."""


class Contended(Exception):
    """Others move the row again and again before us; a later try may meet nobody."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a client says of one file before it uploads it; `sha256` is hex."""

    name: str
    size: int
    sha256: str
    media_type: str


class BatchTable:
    """The table. Safe to share between threads; holds nothing but the client and the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:  # noqa: ANN401 - boto3 has no types
        self._dynamodb = dynamodb
        self._table = table

    def create(self, batch: Batch) -> None:
        """Write a new batch; its id is fresh, so this never overwrites.

        Raises:
            Refused: There is such a batch already.
        """
        row = {
            "PK": f"B#{batch.id}",
            "SK": META,
            "owner": batch.owner,
            "state": batch.state.value,
            "expected": batch.expected,
            "declared": batch.declared,
            "options": batch.options,
            "model": batch.model,
            "created": batch.created,
            "deadline": batch.deadline,
            "expires_at": batch.expires_at,
            "open_pk": OPEN,
            "open_sk": f"{batch.created}#{batch.id}",
        } | ({"retry_of": batch.retry_of} if batch.retry_of else {})
        try:
            self._allowed(self._dynamodb.put_item, Item=attributes(row), ConditionExpression="attribute_not_exists(PK)")
        except InvalidTransition:
            # The first try may have got through and its answer lost; then the client library tried again.
            if self.batch(batch.id) != batch:
                raise

    def batch(self, batch: str) -> Batch | None:
        """Read a batch as it is now."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=batch_key(batch), ConsistentRead=True)
        return Batch.from_attributes(answer["Item"]) if "Item" in answer else None

    def declare(self, batch: Batch, files: list[Declared]) -> list[File]:
        """Take numbers for files, then write their rows.

        The numbers are taken by one conditional write. A crash before the rows are written leaves numbers without a
        row, which nobody was told of; `fill_gap` ends them once the batch takes no more files.

        Raises:
            Refused: The batch takes no more files, or not so many.
            Contended: Others declare files of the same batch, again and again before us.
        """
        first = self._take_numbers(batch.id, len(files))
        made = [
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
        self._write(batch.id, [_file_row(file, batch.expires_at) for file in made])
        return made

    def _take_numbers(self, batch: str, count: int) -> int:
        """Move the batch's `declared` on by `count`; the number that it stood at.

        Not by an addition: the client library repeats a write whose answer was lost, and would add twice. `taken_by`
        tells a repetition from somebody else's move.
        """
        token = secrets.token_hex(8)
        for turn in range(TURNS):
            found = self.batch(batch)
            if found is None or not _has_room(found, count):
                raise InvalidTransition
            values = {":before": found.declared, ":after": found.declared + count, ":token": token}
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
                if _code(error) != CONDITION_FAILED:
                    raise
                if plain(error.response.get("Item", {})).get("taken_by") != token:
                    _pause(turn)
                    continue
            return found.declared
        raise Contended("other calls declare files of this batch all the time")

    def file(self, batch: str, number: int) -> File | None:
        """Read a file as it is now."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=file_key(batch, number), ConsistentRead=True)
        return File.from_attributes(answer["Item"]) if "Item" in answer else None

    def files(self, batch: Batch, *, start: int = 0, limit: int | None = None) -> Iterator[File]:
        """Read a batch's files from number `start` on, in order, as they are now."""
        left = batch.declared if limit is None else limit
        for chunk in range(start // FILES_PER_PARTITION, -(-batch.declared // FILES_PER_PARTITION)):
            for row in self._partition(batch.id, chunk, start):
                if left <= 0:
                    return
                left -= 1
                yield File.from_attributes(row)

    def counts(self, batch: Batch) -> Counter[FileState]:
        """Count the files in each state, from the rows themselves."""
        return Counter(file.state for file in self.files(batch))

    def fill_gap(self, batch: Batch, number: int) -> None:
        """Write the row of a number that was taken and never used, as missing; one that exists stays as it is."""
        gap = File(batch=batch.id, number=number, state=FileState.MISSING, name="", size=0, sha256="", media_type="")
        with contextlib.suppress(InvalidTransition):
            self._write(batch.id, [_file_row(gap, batch.expires_at)])

    def settle(self, batch: str, number: int, state: FileState, outcome: Outcome) -> bool:
        """Move a file to its end, if it has none: the commit, and every cancel, expiry and loss.

        Returns:
            Whether this call did it; `False` means that the file had its end already, which stays as it is.
        """
        try:
            self._move(batch, number, state, outcome, allowed=OPEN_FILE_STATES)
        except InvalidTransition:
            return False
        return True

    def submit(self, batch: str, number: int, outcome: Outcome) -> bool:
        """Note that a file was handed to another worker; `outcome` says where its answer will be."""
        try:
            self._move(batch, number, FileState.SUBMITTED, outcome, allowed=(FileState.PENDING,))
        except InvalidTransition:
            return False
        return True

    def withdraw(self, file: File) -> bool:
        """Let a submitted file wait again, because the attempt that it waits for was turned away.

        Returns:
            Whether this call did it; `False` means that it has its end, or waits for another attempt.
        """
        values = {":pending": FileState.PENDING.value, ":submitted": FileState.SUBMITTED.value}
        try:
            self._allowed(
                self._dynamodb.update_item,
                Key=file_key(file.batch, file.number),
                UpdateExpression="SET #state = :pending REMOVE outcome",
                ConditionExpression="#state = :submitted AND outcome.attempt = :attempt",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=attributes(values | {":attempt": file.outcome["attempt"]}),
            )
        except InvalidTransition:
            return False
        return True

    def ask_again(self, file: File, *, now: int, after_s: int, most: int) -> bool:
        """Note that a waiting file's lost event is sent again, not sooner than `after_s` seconds after the last time.

        Returns:
            Whether it may be sent: the file still waits, this is not too soon, and not more than `most` times.
        """
        values = {":pending": FileState.PENDING.value, ":now": now, ":before": now - after_s, ":one": 1, ":most": most}
        try:
            self._allowed(
                self._dynamodb.update_item,
                Key=file_key(file.batch, file.number),
                UpdateExpression="SET asked_at = :now ADD asked :one",
                ConditionExpression="#state = :pending AND (attribute_not_exists(asked) OR "
                "(asked_at <= :before AND asked < :most))",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=attributes(values),
            )
        except InvalidTransition:
            return False
        return True

    def settle_drop(self, identity: str, outcome: Outcome, *, expires_at: int) -> bool:
        """Commit an undeclared object, once per identity.

        Returns:
            Whether this call did it.
        """
        row = {"PK": f"D#{identity}", "SK": "F#0", "outcome": outcome, "expires_at": expires_at}
        try:
            self._allowed(self._dynamodb.put_item, Item=attributes(row), ConditionExpression="attribute_not_exists(PK)")
        except InvalidTransition:
            return False
        return True

    def drop(self, identity: str) -> Outcome | None:
        """What an undeclared object came to."""
        key = attributes({"PK": f"D#{identity}", "SK": "F#0"})
        answer = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return _outcome(answer["Item"]) if "Item" in answer else None

    def close(self, batch: str) -> None:
        """Take no more files. Closing again changes nothing.

        Raises:
            Refused: The batch has its end already.
        """
        self._batch_move(batch, "SET #state = :running", {":running": BatchState.RUNNING.value})

    def end_with(self, batch: str, ending: BatchState, now: int) -> None:
        """Decide that a batch will be cancelled or expired; its files are settled after, by whoever comes.

        Raises:
            Refused: The batch has its end already.
        """
        self._batch_move(
            batch,
            "SET #state = :running, ending = if_not_exists(ending, :ending), open_sk = :next",
            {":running": BatchState.RUNNING.value, ":ending": ending.value, ":next": f"{now}#{batch}"},
        )

    def finish(self, batch: Batch, state: BatchState) -> bool:
        """Give a batch its end, if it has none and nobody decided another meanwhile.

        Returns:
            Whether this call did it.
        """
        values = {":state": state.value, ":running": BatchState.RUNNING.value}
        ending = "attribute_not_exists(ending)"
        if batch.ending:
            ending, values = "ending = :ending", values | {":ending": batch.ending.value}
        try:
            self._allowed(
                self._dynamodb.update_item,
                Key=batch_key(batch.id),
                UpdateExpression="SET #state = :state REMOVE open_pk, open_sk",
                ConditionExpression=f"#state = :running AND {ending}",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=attributes(values),
            )
        except InvalidTransition:
            return False
        return True

    def look_again(self, batch: str, at: int) -> None:
        """Put an unfinished batch behind the others in the sweeper's order."""
        try:
            self._batch_move(batch, "SET open_sk = :next", {":next": f"{at}#{batch}"})
        except InvalidTransition:
            return

    def unfinished(self, *, limit: int) -> list[str]:
        """Ids of batches without an end, those that were looked at longest ago first."""
        answer = self._dynamodb.query(
            TableName=self._table,
            IndexName=OPEN_INDEX,
            KeyConditionExpression="open_pk = :open",
            ExpressionAttributeValues=attributes({":open": OPEN}),
            Limit=limit,
        )
        return [item["PK"]["S"].removeprefix("B#") for item in answer["Items"]]

    def erase(self, batch: Batch) -> None:
        """Delete every row of a batch, its own last, so that an interrupted erasure can be repeated."""
        deletes = [{"DeleteRequest": {"Key": file_key(batch.id, file.number)}} for file in self.files(batch)]
        while deletes:
            answer = self._dynamodb.batch_write_item(RequestItems={self._table: deletes[:DELETE_CHUNK]})
            deletes = deletes[DELETE_CHUNK:] + answer.get("UnprocessedItems", {}).get(self._table, [])
        self._dynamodb.delete_item(TableName=self._table, Key=batch_key(batch.id))

    def _move(
        self, batch: str, number: int, state: FileState, outcome: Outcome, *, allowed: Iterable[FileState]
    ) -> None:
        names = {f":s{index}": each.value for index, each in enumerate(allowed)}
        self._allowed(
            self._dynamodb.update_item,
            Key=file_key(batch, number),
            UpdateExpression="SET #state = :state, outcome = :outcome",
            ConditionExpression=f"#state IN ({', '.join(names)})",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues=attributes({":state": state.value, ":outcome": outcome} | names),
        )

    def _batch_move(self, batch: str, update: str, values: dict[str, Any]) -> None:
        names = {f":s{index}": each.value for index, each in enumerate(OPEN_BATCH_STATES)}
        self._allowed(
            self._dynamodb.update_item,
            Key=batch_key(batch),
            UpdateExpression=update,
            ConditionExpression=f"#state IN ({', '.join(names)})",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues=attributes(values | names),
        )

    def _allowed(self, call: Any, **arguments: Any) -> Any:  # noqa: ANN401 - boto3 has no types
        try:
            return call(TableName=self._table, **arguments)
        except ClientError as error:
            if _code(error) == CONDITION_FAILED:
                raise InvalidTransition from error
            raise

    def _write(self, batch: str, rows: list[Attributes]) -> None:
        """Put rows that are not there, while their batch is: a purge must not be followed by names of its files."""
        there = {
            "TableName": self._table,
            "Key": batch_key(batch),
            "ConditionExpression": "attribute_exists(PK)",
        }
        for start in range(0, len(rows), WRITE_CHUNK):
            puts = [
                {"Put": {"TableName": self._table, "Item": row, "ConditionExpression": "attribute_not_exists(PK)"}}
                for row in rows[start : start + WRITE_CHUNK]
            ]
            self._transact([{"ConditionCheck": there}, *puts])

    def _transact(self, items: list[dict[str, Any]]) -> None:
        """Write all or nothing; the batch's row may be met by another call's write, which passes."""
        for turn in range(TURNS):
            try:
                self._dynamodb.transact_write_items(TransactItems=items)
            except ClientError as error:
                reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
                if "ConditionalCheckFailed" in reasons:
                    raise InvalidTransition from error
                if "TransactionConflict" not in reasons or turn == TURNS - 1:
                    raise
                _pause(turn)
            else:
                return

    def _partition(self, batch: str, chunk: int, start: int) -> Iterator[Attributes]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="PK = :partition AND SK >= :start",
            ExpressionAttributeValues=attributes({":partition": partition(batch, chunk), ":start": f"F#{start:05d}"}),
            ConsistentRead=True,
        )
        for page in pages:
            yield from page["Items"]


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _pause(turn: int) -> None:
    """Wait for a moment of random length, so that those who met do not meet again."""
    time.sleep(random.uniform(0, FIRST_PAUSE_S * 2**turn))  # noqa: S311 - nobody gains by guessing it


def _has_room(batch: Batch, count: int) -> bool:
    return batch.state is BatchState.OPEN and not batch.ending and batch.declared + count <= batch.expected


def _file_row(file: File, expires_at: int) -> Attributes:
    return file_key(file.batch, file.number) | attributes(
        {
            "state": file.state.value,
            "name": file.name,
            "size": file.size,
            "sha256": file.sha256,
            "media_type": file.media_type,
            "expires_at": expires_at,
        }
    )


def _outcome(item: Attributes) -> Outcome:
    outcome: Outcome = plain(item)["outcome"]
    return outcome

"""Create batches: once for each idempotency key, and within the quotas of their principal.

The rows of a creation are one transaction. A principal's open batches are rows of its own, so that they can be counted
consistently; whether one is still open is what the batch's row says.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import ClientError

from heatlens_aws.conditional_writes import (
    CONDITION_FAILED,
    Contended,
    RetryingClient,
    cancellation_reasons,
    error_code,
    retry_contention,
)
from heatlens_aws.errors import QuotaExceeded
from heatlens_aws.records import OPEN, Attributes, Batch, BatchState, attributes, batch_key, batch_row, plain

KEY_LIFE_S = 24 * 3600  # seconds that an idempotency key is remembered
EXPIRED = 1  # second since 1970
READ_CHUNK = 100  # rows in one batch read
NEW = "attribute_not_exists(PK)"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A client's idempotency key; `id` is a digest of it and its principal, `body` one of the request's body."""

    id: str
    body: str

    @classmethod
    def of(cls, owner: str, key: str, body: Mapping[str, Any]) -> Self:
        """Make the key of a request with this body; a key in quotes is the same as without."""
        written = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return cls(_digest(json.dumps([owner, key.strip('"')])), _digest(written))


@dataclass(frozen=True, slots=True)
class Creation:
    """What a request has created: the batch's id, the digest of the request's body, and the answer."""

    batch: str
    body: str
    answer: str


@dataclass(frozen=True, slots=True)
class Quota:
    """What a principal may have at once: open batches, and files in them that have not ended; 0 is any number."""

    batches: int = 0
    files: int = 0

    @property
    def limits(self) -> bool:
        """Whether it limits anything."""
        return bool(self.batches or self.files)

    def check(self, open_batches: Sequence[Batch], new: Batch) -> None:
        """Check that a principal may open another batch.

        Raises:
            QuotaExceeded: It may not, until one of its batches has ended.
        """
        if self.batches and len(open_batches) >= self.batches:
            raise QuotaExceeded(f"{len(open_batches)} batches are open, of {self.batches}: wait for one to end")
        files = sum(_files_in_flight(batch) for batch in open_batches)
        if self.files and files + new.expected > self.files:
            raise QuotaExceeded(
                f"{files:,} files are in flight, of {self.files:,}: there is no room for {new.expected:,} more yet"
            )


class Creations:
    """Creates batches in a table. Safe to share between threads."""

    def __init__(self, dynamodb: RetryingClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def find(self, key: str, *, now: int) -> Creation | None:
        """Return what a request with this key has created, unless that is a day ago or was purged."""
        response = self._dynamodb.get_item(TableName=self._table, Key=_key_of(key), ConsistentRead=True)
        row = plain(response.get("Item", {}))
        # The table removes rows late.
        if not row or row["expires_at"] <= now:
            return None
        return Creation(row["batch_id"], row["body"], row["answer"])

    def forget(self, batch: Batch) -> None:
        """Forget the idempotency key of a batch, and what it was answered; after a day it may be another batch's."""
        if not batch.idempotency:
            return
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_key_of(batch.idempotency),
                UpdateExpression="SET expires_at = :expired REMOVE batch_id, body, answer",
                ConditionExpression="batch_id = :batch",
                ExpressionAttributeValues=attributes({":expired": EXPIRED, ":batch": batch.id}),
            )
        except ClientError as error:
            if error_code(error) != CONDITION_FAILED:
                raise

    @retry_contention
    def create(self, batch: Batch, answer: str, *, key: RequestKey | None, quota: Quota) -> Creation:
        """Write a new batch, unless its key has created one.

        Args:
            batch: The new batch.
            answer: What every request with the key is answered.
            key: The request's idempotency key.
            quota: Of the batch's owner.

        Returns:
            The creation of this batch, or that of the request which came first.

        Raises:
            QuotaExceeded: The owner may not open another batch now.
            Contended: Other calls keep creating batches of the same owner.
        """
        mine = Creation(batch.id, key.body if key else "", answer)
        items = [{"Put": self._put(batch_row(batch))}]
        if key:
            items.append({"Put": self._key_put(batch, key, answer)})
        try:
            items += self._counted(batch, quota) if quota.limits else []
        except QuotaExceeded:
            # A request with the same key may have taken the last place since this one has looked for it.
            if key and (first := self.find(key.id, now=batch.created)):
                return first
            raise
        try:
            self._dynamodb.transact_write_items(TransactItems=items)
        except ClientError as error:
            failed = [reason == "ConditionalCheckFailed" for reason in cancellation_reasons(error)]
            if not any(failed):
                raise
            if failed[0]:  # a first try succeeded and its response was lost
                return mine
            first = self.find(key.id, now=batch.created) if key and failed[1] else None
            if not first:
                raise Contended("other calls keep creating batches of this principal") from error
            return first
        return mine

    def _counted(self, batch: Batch, quota: Quota) -> list[dict[str, Any]]:
        """Check the quota, and return the writes that fail where another batch was created since.

        Raises:
            QuotaExceeded: The owner may not open another batch now.
        """
        owner = f"O#{_digest(batch.owner)}"
        last = attributes({"PK": owner, "SK": "LAST"})
        row = self._dynamodb.get_item(TableName=self._table, Key=last, ConsistentRead=True).get("Item", {})
        quota.check(self._open_batches(owner), batch)
        seen = plain(row).get("last_token", "")
        turn = {
            "TableName": self._table,
            "Key": last,
            "UpdateExpression": "SET last_token = :token, expires_at = :expires_at",
            "ConditionExpression": "last_token = :seen" if seen else NEW,
            "ExpressionAttributeValues": attributes(
                {":token": secrets.token_hex(8), ":expires_at": batch.expires_at} | ({":seen": seen} if seen else {})
            ),
        }
        counted = attributes({"PK": owner, "SK": f"B#{batch.id}", "expires_at": batch.expires_at})
        return [{"Put": self._put(counted)}, {"Update": turn}]

    def _open_batches(self, owner: str) -> list[Batch]:
        """Read a principal's open batches, and let the rows of those that have ended expire."""
        names = self._names(owner)
        rows: dict[str, Attributes] = {}
        for start in range(0, len(names), READ_CHUNK):
            keys = [batch_key(name) for name in names[start : start + READ_CHUNK]]
            rows |= {row["PK"]["S"].removeprefix("B#"): row for row in self._get_all(keys)}
        unfinished = {name: row for name, row in rows.items() if row.get("open_pk") == {"S": OPEN}}
        for name in names:
            if name not in unfinished:
                self._expire(attributes({"PK": owner, "SK": f"B#{name}"}))
        return [Batch.from_attributes(row) for row in unfinished.values()]

    def _expire(self, key: Attributes) -> None:
        """Have the table remove a row, which only the sweeper may delete."""
        self._dynamodb.update_item(
            TableName=self._table,
            Key=key,
            UpdateExpression="SET expires_at = :expired",
            ExpressionAttributeValues=attributes({":expired": EXPIRED}),
        )

    def _names(self, owner: str) -> list[str]:
        pages = self._dynamodb.pages(
            TableName=self._table,
            KeyConditionExpression="PK = :owner AND begins_with(SK, :batch)",
            FilterExpression="expires_at > :expired",
            ExpressionAttributeValues=attributes({":owner": owner, ":batch": "B#", ":expired": EXPIRED}),
            ConsistentRead=True,
        )
        return [row["SK"]["S"].removeprefix("B#") for page in pages for row in page["Items"]]

    def _get_all(self, keys: list[Attributes]) -> list[Attributes]:
        response = self._dynamodb.batch_get_item(RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}})
        if response.get("UnprocessedKeys"):
            raise Contended("the table throttles reads")
        rows: list[Attributes] = response["Responses"].get(self._table, [])
        return rows

    def _key_put(self, batch: Batch, key: RequestKey, answer: str) -> dict[str, Any]:
        facts = {"batch_id": batch.id, "body": key.body, "answer": answer, "expires_at": batch.created + KEY_LIFE_S}
        put = self._put(_key_of(key.id) | attributes(facts))
        now = attributes({":now": batch.created})
        return put | {"ConditionExpression": f"{NEW} OR expires_at <= :now", "ExpressionAttributeValues": now}

    def _put(self, row: Attributes) -> dict[str, Any]:
        return {"TableName": self._table, "Item": row, "ConditionExpression": NEW}


def _files_in_flight(batch: Batch) -> int:
    files = batch.expected if batch.state is BatchState.OPEN else batch.declared
    return files - batch.progress.ended


def _key_of(key: str) -> Attributes:
    return attributes({"PK": f"I#{key}", "SK": "KEY"})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

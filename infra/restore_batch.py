"""Copy the rows of a batch back from a restored table: `python infra/restore_batch.py RESTORED TABLE BATCH_ID`.

Rows that the table has are kept, so that a second run continues an interrupted one. A purged batch is refused.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from heatlens_aws.records import FILES_PER_PARTITION, batch_key, partition

Row = dict[str, Any]
WORDS = 3


class NotRestored(Exception):
    """The batch cannot be restored; the text says why."""


def restore(restored: str, table: str, batch: str) -> tuple[int, int]:
    """Copy the rows that the table lacks, the batch's own row last.

    Returns:
        How many rows were copied, and how many were there.

    Raises:
        NotRestored: The restored table has no such batch, or the table says that the batch was purged.
    """
    client = boto3.client("dynamodb")
    meta = client.get_item(TableName=restored, Key=batch_key(batch), ConsistentRead=True).get("Item")
    if meta is None or "purged_at" in meta:
        raise NotRestored(f"{restored} has no batch {batch}")
    if "purged_at" in client.get_item(TableName=table, Key=batch_key(batch), ConsistentRead=True).get("Item", {}):
        raise NotRestored(f"batch {batch} was purged: its rows name files that must stay erased")
    copied = [_copy(client, table, row) for row in _files(client, restored, batch, int(meta["expected"]["N"]))]
    copied.append(_copy(client, table, meta))
    return sum(copied), len(copied) - sum(copied)


def _files(client: Any, table: str, batch: str, expected: int) -> Iterator[Row]:  # noqa: ANN401 - boto3 has no types
    pages = client.get_paginator("query")
    for chunk in range(-(-expected // FILES_PER_PARTITION)):
        values = {":partition": {"S": partition(batch, chunk)}}
        for page in pages.paginate(
            TableName=table,
            KeyConditionExpression="PK = :partition",
            ExpressionAttributeValues=values,
            ConsistentRead=True,
        ):
            yield from page["Items"]


def _copy(client: Any, table: str, row: Row) -> bool:  # noqa: ANN401 - boto3 has no types
    try:
        client.put_item(TableName=table, Item=row, ConditionExpression="attribute_not_exists(PK)")
    except client.exceptions.ConditionalCheckFailedException:
        return False
    return True


def main(words: Sequence[str]) -> int:
    """Copy the rows and say how many."""
    if len(words) != WORDS:
        print((__doc__ or "").partition("\n")[0], file=sys.stderr)
        return 2
    try:
        copied, kept = restore(*words)
    except (NotRestored, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"copied {copied} rows; {kept} were there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The local table executes one call at a time, as tests with threads need."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.support.aws import Account

WRITES = 150


@pytest.fixture
def frequent_thread_switches() -> Iterator[None]:
    """Switch threads a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 1000)
    yield
    sys.setswitchinterval(before)


def test_a_refused_transaction_does_not_undo_other_writes(aws: Account, frequent_thread_switches: None) -> None:
    dynamodb, table = aws.clients.dynamodb, aws.settings.table

    def item(number: int) -> dict[str, dict[str, str]]:
        return {"PK": {"S": f"item {number}"}, "SK": {"S": "-"}}

    def refused(_: int) -> str:
        put = {"TableName": table, "Item": item(-1), "ConditionExpression": "attribute_exists(PK)"}
        try:
            dynamodb.transact_write_items(TransactItems=[{"Put": put}])
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "written"

    with ThreadPoolExecutor(2) as refusing, ThreadPoolExecutor(2) as putting:
        codes = refusing.map(refused, range(WRITES))
        list(putting.map(lambda number: dynamodb.put_item(TableName=table, Item=item(number)), range(WRITES)))

    assert set(codes) == {"TransactionCanceledException"}
    assert dynamodb.scan(TableName=table, Select="COUNT")["Count"] == WRITES

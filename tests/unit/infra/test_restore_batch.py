"""A batch's rows are copied back from a restored table: what is lost, and nothing else."""

from typing import Any

import pytest

from heatlens.model import Model
from infra import restore_batch
from tests.support.aws import ID, Account, purged
from tests.support.staged import desk, picture

RESTORED = "restored"


def rows(account: Account, table: str) -> list[dict[str, Any]]:
    return sorted(account.clients.dynamodb.scan(TableName=table)["Items"], key=str)


@pytest.fixture
def restored(aws: Account, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows of a worked batch, which a second table holds too."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    staged = desk(aws, tiny_model)
    staged.batch(picture(), picture(2))
    staged.work(staged.received(staged.put(picture())))
    client, table = aws.clients.dynamodb, aws.settings.table
    made = client.describe_table(TableName=table)["Table"]
    keys = [each for each in made["AttributeDefinitions"] if each["AttributeName"] in ("PK", "SK")]
    client.create_table(
        TableName=RESTORED, BillingMode="PAY_PER_REQUEST", AttributeDefinitions=keys, KeySchema=made["KeySchema"]
    )
    for row in rows(aws, table):
        client.put_item(TableName=RESTORED, Item=row)
    return rows(aws, table)


def lose(account: Account, *lost: dict[str, Any]) -> None:
    for row in lost:
        account.clients.dynamodb.delete_item(TableName=account.settings.table, Key={"PK": row["PK"], "SK": row["SK"]})


def run(account: Account, batch: str = ID) -> int:
    return restore_batch.main([RESTORED, account.settings.table, batch])


def test_lost_rows_are_copied_and_a_second_run_copies_none(
    aws: Account, restored: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    lose(aws, *restored)

    assert [run(aws), run(aws)] == [0, 0]

    assert rows(aws, aws.settings.table) == restored
    assert len(restored) == 3
    assert capsys.readouterr().out == "copied 3 rows; 0 were there\ncopied 0 rows; 3 were there\n"


def test_rows_that_are_there_are_kept_as_they_are(aws: Account, restored: list[dict[str, Any]]) -> None:
    meta, first, second = sorted(restored, key=lambda row: (row["SK"]["S"] != "META", row["SK"]["S"]))
    lose(aws, meta, second)
    changed = first | {"state": {"S": "CANCELLED"}}
    aws.clients.dynamodb.put_item(TableName=aws.settings.table, Item=changed)

    assert run(aws) == 0

    assert sorted([meta, changed, second], key=str) == rows(aws, aws.settings.table)


def test_a_purged_batch_stays_purged(
    aws: Account, restored: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    batch = aws.jobs.batch(ID)
    assert batch
    lose(aws, *(row for row in restored if row["SK"]["S"] != "META"))
    purged(aws, batch)
    before = rows(aws, aws.settings.table)

    assert run(aws) == 1

    assert "was purged" in capsys.readouterr().err
    assert rows(aws, aws.settings.table) == before


@pytest.mark.usefixtures("restored")
def test_an_unknown_batch_and_an_unknown_table_are_named(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(aws, "01J99999999999999999999999") == 1
    assert "restored has no batch 01J9" in capsys.readouterr().err
    assert restore_batch.main(["no-such-table", aws.settings.table, ID]) == 1
    assert "ResourceNotFoundException" in capsys.readouterr().err


def test_without_its_three_words_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert restore_batch.main([RESTORED]) == 2
    assert "RESTORED TABLE BATCH_ID" in capsys.readouterr().err

"""A tombstone replaces a batch's row, names nobody, and hides the batch until it ends."""

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from heatlens_aws.batch_table import Declared
from heatlens_aws.conditional_writes import FIRST_PAUSE_S, TRIES, Contended, InvalidTransition
from heatlens_aws.object_keys import Lane
from heatlens_aws.records import Batch, BatchState, FileState, batch_key
from heatlens_aws.tombstones import DELETE_CHUNK, PurgeState, Tombstone
from tests.support.aws import ID, OPEN_BATCH, Account, purged

NAME, LABEL = "Doe^Jane.png", "opacity"
FILE = Declared(NAME, 10, "0" * 64, "image/png")


def make(aws: Account, files: int = 1, *, expected: int = 10) -> Batch:
    options = {"target": [LABEL]}
    batch = replace(OPEN_BATCH, owner="iam Dr. Jane", lane=Lane.BULK, expected=expected, options=options)
    aws.jobs.create(batch)
    for start in range(0, files, 90):
        aws.jobs.declare(batch, [FILE] * min(90, files - start))
    found = aws.jobs.batch(ID)
    assert found is not None
    return found


def rows(aws: Account) -> list[Any]:
    found: list[Any] = aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"]
    return found


def test_a_tombstone_has_no_name_label_or_option(aws: Account) -> None:
    tombstone = purged(aws, make(aws, 0), now=5000, life_s=10)

    [row] = rows(aws)
    assert not any(word in str(row) for word in (NAME, LABEL, "Jane", "target", "m" * 64))
    assert asdict(tombstone) | {"owner": ""} == {
        "id": ID,
        "owner": "",
        "state": PurgeState.PURGING,
        "lane": Lane.BULK,
        "expected": 10,
        "declared": 0,
        "created": 1000,
        "deadline": 2000,
        "purged_at": 5000,
        "until": 5010,
    }
    assert int(row["expires_at"]["N"]) > tombstone.until


def test_only_the_owner_is_recognized(aws: Account) -> None:
    tombstone = purged(aws, make(aws))

    assert tombstone.is_of("iam Dr. Jane")
    assert not tombstone.is_of("iam Dr. John")


def test_a_purged_batch_is_unknown_and_accepts_no_change(aws: Account) -> None:
    batch = make(aws)
    purged(aws, batch)
    before = rows(aws)

    assert aws.jobs.batch(ID) is None
    assert aws.jobs.unfinished(limit=10) == []
    assert not aws.jobs.finish(batch, BatchState.SUCCEEDED, Counter())
    for refused in (
        lambda: aws.jobs.declare(batch, [FILE]),
        lambda: aws.jobs.close(ID),
        lambda: aws.jobs.decide_end(ID, BatchState.EXPIRED, 9),
    ):
        with pytest.raises(InvalidTransition):
            refused()
    aws.jobs.fill_gap(batch, 5)
    aws.jobs.postpone(ID, 77)
    assert rows(aws) == before


def test_a_second_purge_changes_nothing(aws: Account) -> None:
    batch = make(aws)
    first = purged(aws, batch, now=5000)

    assert purged(aws, batch, now=6000) == first


def test_a_purge_of_a_batch_that_is_gone_writes_nothing(aws: Account) -> None:
    batch = make(aws, 0)
    aws.clients.dynamodb.delete_item(TableName=aws.settings.table, Key=batch_key(ID))

    aws.jobs.tombstones.put(Tombstone.of(batch, now=1, until=2))

    assert rows(aws) == []


def test_erases_the_rows_in_portions_and_no_other_batch(aws: Account) -> None:
    tombstone = purged(aws, make(aws, 60, expected=2000))
    others = [{"PK": {"S": f"B#{ID[:-1]}1#0"}, "SK": {"S": "F#00000"}}, {"PK": {"S": f"B#{ID}#2"}, "SK": {"S": "x"}}]
    for other in others:
        aws.clients.dynamodb.put_item(TableName=aws.settings.table, Item=other)
    assert aws.jobs.tombstones.files_left(tombstone) == 60

    portions = aws.jobs.tombstones.erase_files(tombstone)
    assert next(portions) == DELETE_CHUNK
    assert aws.jobs.tombstones.files_left(tombstone) == 60 - DELETE_CHUNK
    assert sum(portions) == 60 - DELETE_CHUNK

    assert sorted(map(str, rows(aws))) == sorted(
        map(str, [*others, aws.clients.dynamodb.get_item(TableName=aws.settings.table, Key=batch_key(ID))["Item"]])
    )


def test_a_commit_after_its_row_was_erased_is_refused(aws: Account) -> None:
    tombstone = purged(aws, make(aws))
    assert sum(aws.jobs.tombstones.erase_files(tombstone)) == 1

    assert not aws.jobs.settle(ID, 0, FileState.OK, {"label": LABEL})
    assert len(rows(aws)) == 1


def test_rows_that_dynamodb_did_not_take_are_deleted_again(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    tombstone = purged(aws, make(aws, 3))
    write, calls = aws.clients.dynamodb.batch_write_item, []

    def half(RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803 - DynamoDB's
        [(table, asked)] = RequestItems.items()
        calls.append(len(asked))
        write(RequestItems={table: asked[:1]})
        return {"UnprocessedItems": {table: asked[1:]} if asked[1:] else {}}

    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    monkeypatch.setattr(aws.clients.dynamodb, "batch_write_item", half)

    assert list(aws.jobs.tombstones.erase_files(tombstone)) == [3]
    assert (calls, aws.jobs.tombstones.files_left(tombstone)) == ([3, 2, 1], 0)
    assert len(pauses) == 2
    assert all(0 <= pause <= FIRST_PAUSE_S * 2**number for number, pause in enumerate(pauses))


def test_rows_that_dynamodb_never_takes_are_left_to_the_next_sweep(
    aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    tombstone, calls = purged(aws, make(aws, 3)), list[int]()

    def none(RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803 - DynamoDB's
        calls.append(1)
        assert len(calls) <= TRIES
        return {"UnprocessedItems": RequestItems}

    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    monkeypatch.setattr(aws.clients.dynamodb, "batch_write_item", none)

    with pytest.raises(Contended, match="throttles"):
        list(aws.jobs.tombstones.erase_files(tombstone))
    assert len(calls) == TRIES
    assert aws.jobs.tombstones.files_left(tombstone) == 3


def test_is_due_when_its_time_has_come(aws: Account) -> None:
    purged(aws, make(aws), now=5000)
    tombstones = aws.jobs.tombstones
    assert (tombstones.due(4999, limit=9), tombstones.due(5000, limit=9)) == ([], [ID])

    tombstones.postpone(ID, 6000)
    assert (tombstones.due(5999, limit=9), tombstones.due(6000, limit=9)) == ([], [ID])
    assert tombstones.find(ID).state is PurgeState.PURGING  # type: ignore[union-attr]

    tombstones.erased(ID, 7000)
    assert (tombstones.due(6999, limit=9), tombstones.due(7000, limit=9)) == ([], [ID])
    assert tombstones.find(ID).state is PurgeState.PURGED  # type: ignore[union-attr]


def test_a_removed_tombstone_does_not_come_back(aws: Account) -> None:
    purged(aws, make(aws, 0))
    tombstones = aws.jobs.tombstones

    tombstones.remove(ID)
    tombstones.postpone(ID, 6000)
    tombstones.erased(ID, 7000)

    assert (rows(aws), tombstones.find(ID)) == ([], None)


def test_a_batch_that_is_not_purged_has_no_tombstone(aws: Account) -> None:
    make(aws)

    aws.jobs.tombstones.erased(ID, 7000)

    assert aws.jobs.tombstones.find(ID) is None
    assert aws.jobs.batch(ID) is not None


def test_a_purge_that_meets_a_declaring_call_is_repeated(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB refuses a plain write of a row that a running transaction checks; moto cannot show it."""
    batch = make(aws)
    put, met = aws.clients.dynamodb.put_item, []

    def conflicting(**arguments: Any) -> Any:  # noqa: ANN401 - DynamoDB's
        met.append(1)
        if len(met) == 1:
            raise ClientError({"Error": {"Code": "TransactionConflictException", "Message": ""}}, "PutItem")
        return put(**arguments)

    monkeypatch.setattr(aws.clients.dynamodb, "put_item", conflicting)

    assert purged(aws, batch).state is PurgeState.PURGING
    assert len(met) == 2

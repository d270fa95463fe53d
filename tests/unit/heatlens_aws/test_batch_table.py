from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from heatlens_aws.batch_table import BatchTable, Declared
from heatlens_aws.conditional_writes import Contended, InvalidTransition
from heatlens_aws.progress import recount
from heatlens_aws.records import Batch, BatchState, File, FileState, attributes, batch_key
from tests.support.aws import ID, OPEN_BATCH, Account, lose_an_answer, purged

FILE = Declared("scan.png", 10, "0" * 64, "image/png")


def make(aws: Account, *, expected: int = 10) -> Batch:
    batch = replace(OPEN_BATCH, expected=expected)
    aws.jobs.create(batch)
    return batch


def read(aws: Account) -> Batch:
    batch = aws.jobs.batch(ID)
    assert batch is not None
    return batch


def test_a_batch_is_read_as_it_was_written(aws: Account) -> None:
    batch = make(aws)

    assert read(aws) == batch


def test_a_batch_is_never_overwritten(aws: Account) -> None:
    batch = make(aws)

    with pytest.raises(InvalidTransition):
        aws.jobs.create(replace(batch, owner="somebody else"))
    assert read(aws).owner == "me"


def test_creates_a_batch_once_when_the_first_response_is_lost(aws: Account) -> None:
    lost = lose_an_answer(aws.clients.dynamodb, "PutItem")

    batch = make(aws)

    assert lost
    assert read(aws) == batch


def test_reserves_numbers_once_when_the_response_is_lost(aws: Account) -> None:
    batch = make(aws, expected=4)
    lost = lose_an_answer(aws.clients.dynamodb, "UpdateItem")

    first, second = aws.jobs.declare(batch, [FILE] * 2), aws.jobs.declare(batch, [FILE] * 2)

    assert lost
    assert [file.number for file in first + second] == [0, 1, 2, 3]
    assert read(aws).declared == 4


def test_calls_that_declare_at_once_get_numbers_of_their_own(aws: Account) -> None:
    batch = make(aws, expected=24)

    with ThreadPoolExecutor(4) as pool:
        calls = list(pool.map(lambda _: aws.jobs.declare(batch, [FILE] * 2), range(12)))

    assert sorted(file.number for files in calls for file in files) == list(range(24))


def test_declaring_gives_up_when_other_calls_keep_changing_the_row(
    aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, real = make(aws), BatchTable.batch
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)

    def overtaken(jobs: BatchTable, name: str) -> Batch | None:
        found = real(jobs, name)
        other = attributes({":one": 1})
        aws.clients.dynamodb.update_item(
            TableName=aws.settings.table,
            Key=batch_key(name),
            UpdateExpression="ADD declared :one",
            ExpressionAttributeValues=other,
        )
        return found

    monkeypatch.setattr(BatchTable, "batch", overtaken)
    with pytest.raises(Contended):
        aws.jobs.declare(batch, [FILE])


def test_a_transaction_conflict_is_retried(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make(aws)
    met: list[object] = []
    write = aws.clients.dynamodb.transact_write_items

    def meeting(**arguments: Any) -> Any:  # noqa: ANN401 - boto3's
        if len(met) < 3:
            met.append(arguments)
            reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
            error = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(error, "TransactWriteItems")
        return write(**arguments)

    monkeypatch.setattr(aws.clients.dynamodb, "transact_write_items", meeting)

    assert [file.number for file in aws.jobs.declare(batch, [FILE])] == [0]
    assert len(list(aws.jobs.files(read(aws)))) == 1


def test_files_get_consecutive_numbers_over_calls(aws: Account) -> None:
    batch = make(aws, expected=60)

    first = aws.jobs.declare(batch, [FILE] * 27)
    second = aws.jobs.declare(batch, [FILE] * 33)

    assert [file.number for file in first + second] == list(range(60))
    assert list(aws.jobs.files(read(aws))) == first + second


def test_rejects_more_files_than_expected(aws: Account) -> None:
    batch = make(aws, expected=3)
    aws.jobs.declare(batch, [FILE] * 2)

    with pytest.raises(InvalidTransition):
        aws.jobs.declare(batch, [FILE] * 2)
    assert read(aws).declared == 2


def test_a_closed_batch_rejects_files_and_closing_twice_changes_nothing(aws: Account) -> None:
    batch = make(aws)

    aws.jobs.close(ID)
    aws.jobs.close(ID)

    assert read(aws).state is BatchState.RUNNING
    with pytest.raises(InvalidTransition):
        aws.jobs.declare(batch, [FILE])


@pytest.mark.contract("terminal")
def test_a_files_end_never_changes(aws: Account) -> None:
    batch = make(aws)
    aws.jobs.declare(batch, [FILE])

    assert aws.jobs.settle(ID, 0, FileState.OK, {"attempt": "a", "probability": 0.25})
    for state in (FileState.OK, FileState.FAILED, FileState.CANCELLED, FileState.MISSING):
        assert not aws.jobs.settle(ID, 0, state, {"attempt": "b"})
    assert not aws.jobs.submit(ID, 0, {})

    file = aws.jobs.file(ID, 0)
    assert file is not None
    assert (file.state, file.outcome) == (FileState.OK, {"attempt": "a", "probability": 0.25})


def test_a_submitted_file_can_be_settled(aws: Account) -> None:
    batch = make(aws)
    aws.jobs.declare(batch, [FILE])

    assert aws.jobs.submit(ID, 0, {"attempt": "a"})
    assert not aws.jobs.submit(ID, 0, {"attempt": "b"})
    assert aws.jobs.settle(ID, 0, FileState.FAILED, {"code": "x"})


def test_an_undeclared_file_cannot_be_settled(aws: Account) -> None:
    make(aws)

    assert not aws.jobs.settle(ID, 7, FileState.OK, {})
    assert aws.jobs.file(ID, 7) is None


@pytest.mark.contract("recounts")
def test_counts_read_all_partitions(aws: Account) -> None:
    batch = make(aws, expected=1100)
    for _ in range(11):
        aws.jobs.declare(batch, [FILE] * 100)
    for number in (0, 999, 1000, 1099):
        aws.jobs.settle(ID, number, FileState.OK, {})

    assert recount(aws.jobs, read(aws)).counts == Counter({FileState.PENDING: 1096, FileState.OK: 4})
    assert [file.number for file in aws.jobs.files(read(aws), start=998, limit=4)] == [998, 999, 1000, 1001]


def test_numbers_reserved_by_a_dead_call_are_filled_and_never_reused(aws: Account) -> None:
    batch = make(aws)
    aws.clients.dynamodb.update_item(  # what a declaring call does before it dies
        TableName=aws.settings.table,
        Key={"PK": {"S": f"B#{ID}"}, "SK": {"S": "META"}},
        UpdateExpression="ADD declared :two",
        ExpressionAttributeValues={":two": {"N": "2"}},
    )
    [used] = aws.jobs.declare(batch, [FILE])

    for number in range(3):
        aws.jobs.fill_gap(read(aws), number)

    assert [file.state for file in aws.jobs.files(read(aws))] == ["MISSING", "MISSING", "PENDING"]
    assert used.number == 2


def test_declaring_fails_after_its_gap_was_filled(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make(aws)
    write = BatchTable._write_files

    def late(jobs: BatchTable, of: Batch, files: list[File]) -> None:
        monkeypatch.setattr(BatchTable, "_write_files", write)
        jobs.fill_gap(batch, 0)
        write(jobs, of, files)

    monkeypatch.setattr(BatchTable, "_write_files", late)
    with pytest.raises(InvalidTransition):
        aws.jobs.declare(batch, [FILE])


def test_declaring_after_a_purge_writes_nothing(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make(aws)
    write = BatchTable._write_files

    def late(jobs: BatchTable, of: Batch, files: list[File]) -> None:
        purged(aws, read(aws))
        write(jobs, of, files)

    monkeypatch.setattr(BatchTable, "_write_files", late)
    with pytest.raises(InvalidTransition):
        aws.jobs.declare(batch, [FILE])
    assert aws.clients.dynamodb.scan(TableName=aws.settings.table)["Count"] == 1


def test_a_drop_is_settled_once(aws: Account) -> None:
    assert aws.jobs.settle_drop("identity", {"state": "OK"}, expires_at=1)
    assert not aws.jobs.settle_drop("identity", {"state": "FAILED"}, expires_at=1)
    assert aws.jobs.drop("identity") == {"state": "OK"}
    assert aws.jobs.drop("other") is None


def test_an_end_decided_meanwhile_is_not_overwritten(aws: Account) -> None:
    make(aws)
    aws.jobs.close(ID)
    seen = read(aws)
    aws.jobs.decide_end(ID, BatchState.CANCELLED, now=5)

    assert not aws.jobs.finish(seen, BatchState.SUCCEEDED, Counter())
    assert aws.jobs.finish(read(aws), BatchState.CANCELLED, Counter())
    assert not aws.jobs.finish(read(aws), BatchState.CANCELLED, Counter())
    assert read(aws).state is BatchState.CANCELLED
    for move in (aws.jobs.close, lambda batch: aws.jobs.decide_end(batch, BatchState.EXPIRED, now=9)):
        with pytest.raises(InvalidTransition):
            move(ID)


def test_the_first_decision_stands(aws: Account) -> None:
    make(aws)

    deadline = read(aws).deadline
    aws.jobs.decide_end(ID, BatchState.EXPIRED, now=deadline)
    aws.jobs.decide_end(ID, BatchState.CANCELLED, now=deadline + 1)

    assert read(aws).ending is BatchState.EXPIRED


def test_unfinished_batches_are_found_until_they_end(aws: Account) -> None:
    make(aws)
    assert aws.jobs.unfinished(limit=10) == [ID]

    aws.jobs.close(ID)
    aws.jobs.postpone(ID, 99)
    assert aws.jobs.unfinished(limit=10) == [ID]
    aws.jobs.finish(read(aws), BatchState.SUCCEEDED, Counter())

    assert aws.jobs.unfinished(limit=10) == []
    aws.jobs.postpone(ID, 100)
    assert aws.jobs.unfinished(limit=10) == []

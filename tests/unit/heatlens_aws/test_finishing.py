import hashlib
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from heatlens_aws.batch_table import BatchTable, Declared
from heatlens_aws.finishing import final_state, finish_if_done, settle_open
from heatlens_aws.object_keys import Lane, manifest_key, results_key, upload_key
from heatlens_aws.progress import recount
from heatlens_aws.records import Batch, BatchState, FileState
from heatlens_aws.staging import Stored
from tests.support.aws import ID, OPEN_BATCH, Account

BATCH = replace(OPEN_BATCH, expected=2000)
OK = {"attempt": "a", "probability": 0.25, "label": "BRIGHT", "objects": {"map.npy": "0" * 64}}


def make(aws: Account, *ends: tuple[FileState, dict[str, Any]] | None) -> Batch:
    """Make a closed batch whose files have these states."""
    aws.jobs.create(BATCH)
    for number, end in enumerate(ends):
        aws.jobs.declare(BATCH, [Declared(f"Zoë {number}.png", 5, f"{number:064x}", "image/png")])
        if end:
            aws.jobs.settle(ID, number, *end)
    aws.jobs.close(ID)
    return read(aws)


def read(aws: Account) -> Batch:
    batch = aws.jobs.batch(ID)
    assert batch is not None
    return batch


def finish(aws: Account) -> Batch:
    return finish_if_done(aws.jobs, aws.staging, read(aws))


def document(aws: Account, key: str) -> bytes:
    return aws.staging.read(Stored(key), max_bytes=10**6)


def versions(aws: Account) -> list[str]:
    listed = aws.clients.s3.list_object_versions(Bucket=aws.settings.bucket, Prefix="out/")
    return [each["Key"] for each in listed.get("Versions", [])]


def test_a_finished_batch_has_a_line_per_file_without_its_name(aws: Account) -> None:
    make(aws, (FileState.OK, OK), (FileState.FAILED, {"code": "input.empty"}), (FileState.MISSING, {}))

    assert finish(aws).state is BatchState.PARTIAL

    assert [json.loads(line) for line in document(aws, results_key(ID)).splitlines()] == [
        {"number": 0, "state": "OK", **OK},
        {"number": 1, "state": "FAILED", "code": "input.empty"},
        {"number": 2, "state": "MISSING"},
    ]


@pytest.mark.contract("manifest")
def test_the_manifest_lists_exactly_the_files_with_their_names_and_digests(aws: Account) -> None:
    make(aws, (FileState.OK, OK), (FileState.CANCELLED, {}))

    finish(aws)

    manifest = json.loads(document(aws, manifest_key(ID)))
    results = document(aws, results_key(ID))
    assert manifest["results"] == {"key": results_key(ID), "sha256": hashlib.sha256(results).hexdigest()}
    assert manifest["counts"] == {"OK": 1, "CANCELLED": 1}
    assert (manifest["batch"], manifest["model"], manifest["options"]) == (ID, "m" * 64, {"alpha": 0.4})
    assert manifest["files"] == [
        {"number": 0, "name": "Zoë 0.png", "sha256": f"{0:064x}", "state": "OK", "outcome": OK},
        {"number": 1, "name": "Zoë 1.png", "sha256": f"{1:064x}", "state": "CANCELLED", "outcome": {}},
    ]


def test_finishing_again_writes_nothing(aws: Account) -> None:
    make(aws, (FileState.OK, OK))
    finish(aws)
    before = document(aws, manifest_key(ID)), document(aws, results_key(ID))

    assert finish(aws).state is BatchState.SUCCEEDED

    assert (document(aws, manifest_key(ID)), document(aws, results_key(ID))) == before
    assert versions(aws) == [manifest_key(ID), results_key(ID)]


def test_two_concurrent_finishes_write_the_same_documents_once(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = make(aws, (FileState.OK, OK), (FileState.FAILED, {"code": "x"}))
    wanted: list[tuple[str, bytes]] = []
    write_once, finished = type(aws.staging).write_once, BatchTable.finish
    wins: list[bool] = []

    def noted(staging: Any, key: str, data: bytes, media_type: str) -> None:  # noqa: ANN401 - hands on
        wanted.append((key, data))
        if len(wanted) == 1:
            finish_if_done(aws.jobs, aws.staging, seen)  # the other, between this one's decision and its writing
        write_once(staging, key, data, media_type)

    def won(jobs: BatchTable, batch: Batch, state: BatchState, counts: Counter[FileState]) -> bool:
        wins.append(finished(jobs, batch, state, counts))
        return wins[-1]

    monkeypatch.setattr(type(aws.staging), "write_once", noted)
    monkeypatch.setattr(BatchTable, "finish", won)

    assert finish_if_done(aws.jobs, aws.staging, seen).state is BatchState.PARTIAL

    assert len(wanted) == 4
    assert len(set(wanted)) == 2
    assert versions(aws) == [manifest_key(ID), results_key(ID)]
    assert wins == [True, False]


def test_the_documents_do_not_depend_on_the_order_of_commits(aws: Account) -> None:
    make(aws, None, None)
    for number in (1, 0):
        aws.jobs.settle(ID, number, FileState.OK, dict(reversed(OK.items())) if number else OK)
    finish(aws)
    first = document(aws, results_key(ID)), document(aws, manifest_key(ID))
    aws.staging.erase("out/")
    for row in aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"]:
        aws.clients.dynamodb.delete_item(TableName=aws.settings.table, Key={name: row[name] for name in ("PK", "SK")})

    make(aws, (FileState.OK, OK), (FileState.OK, OK))
    finish(aws)

    assert (document(aws, results_key(ID)), document(aws, manifest_key(ID))) == first


@pytest.mark.parametrize("opened", [0, 1, 2])
def test_a_batch_with_an_open_file_is_not_finished(aws: Account, opened: int) -> None:
    ends: list[tuple[FileState, dict[str, Any]] | None] = [(FileState.OK, OK)] * 3
    ends[opened] = None
    make(aws, *ends)

    assert finish(aws).state is BatchState.RUNNING
    assert versions(aws) == []


def test_an_open_batch_is_not_finished(aws: Account) -> None:
    aws.jobs.create(BATCH)
    aws.jobs.declare(BATCH, [Declared("a", 5, "0" * 64, "image/png")])
    aws.jobs.settle(ID, 0, FileState.OK, OK)

    assert finish(aws).state is BatchState.OPEN
    assert versions(aws) == []


def gap(aws: Account) -> None:
    """Make the gap that a declaring call leaves when it dies after reserving a number."""
    aws.clients.dynamodb.update_item(
        TableName=aws.settings.table,
        Key={"PK": {"S": f"B#{ID}"}, "SK": {"S": "META"}},
        UpdateExpression="ADD declared :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )


def test_a_batch_with_a_missing_row_is_finished_after_it_is_filled(aws: Account) -> None:
    make(aws, (FileState.OK, OK))
    gap(aws)
    assert finish(aws).state is BatchState.RUNNING

    settle_open(aws.jobs, aws.staging, read(aws), recount(aws.jobs, read(aws)))

    assert finish(aws).state is BatchState.PARTIAL
    assert [file.state for file in aws.jobs.files(read(aws))] == ["OK", "MISSING"]


@pytest.mark.parametrize(
    ("ending", "states"),
    [
        (None, ["OK", "PENDING", "MISSING"]),
        (BatchState.CANCELLED, ["OK", "CANCELLED", "CANCELLED"]),
        (BatchState.EXPIRED, ["OK", "FAILED", "MISSING"]),
    ],
)
def test_open_files_get_the_end_that_is_due(aws: Account, ending: BatchState | None, states: list[str]) -> None:
    batch = make(aws, (FileState.OK, OK), None, None)
    aws.clients.s3.put_object(Bucket=aws.settings.bucket, Key=upload_key(Lane.INTERACTIVE, ID, 1), Body=b"bytes")

    settle_open(aws.jobs, aws.staging, replace(batch, ending=ending), recount(aws.jobs, batch))

    assert [file.state for file in aws.jobs.files(batch)] == states


@pytest.mark.parametrize(
    ("counts", "ending", "end"),
    [
        ({FileState.OK: 2}, None, BatchState.SUCCEEDED),
        ({FileState.OK: 2, FileState.MISSING: 1}, None, BatchState.PARTIAL),
        ({FileState.FAILED: 2}, None, BatchState.FAILED),
        ({FileState.OK: 2}, BatchState.CANCELLED, BatchState.CANCELLED),
        ({FileState.FAILED: 2}, BatchState.EXPIRED, BatchState.EXPIRED),
        ({}, None, BatchState.SUCCEEDED),
    ],
)
def test_a_batch_ends_as_its_files_and_decisions_say(
    counts: dict[FileState, int], ending: BatchState | None, end: BatchState
) -> None:
    assert final_state(replace(BATCH, ending=ending), Counter(counts)) is end


def test_a_decision_between_the_documents_and_the_row_is_not_overwritten(
    aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(aws, (FileState.OK, OK))
    write_once = type(aws.staging).write_once

    def interrupted(staging: Any, key: str, data: bytes, media_type: str) -> None:  # noqa: ANN401 - hands on
        write_once(staging, key, data, media_type)
        if key == manifest_key(ID):
            aws.jobs.decide_end(ID, BatchState.CANCELLED, now=5)

    monkeypatch.setattr(type(aws.staging), "write_once", interrupted)

    assert finish(aws).state is BatchState.RUNNING
    assert finish(aws).state is BatchState.CANCELLED


def test_a_long_batch_is_read_to_its_first_open_file_only(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.jobs.create(BATCH)
    for _ in range(11):
        aws.jobs.declare(BATCH, [Declared("a", 5, "0" * 64, "image/png")] * 100)
    aws.jobs.close(ID)
    read_partitions: list[int] = []
    partition = BatchTable._partition

    def noted(jobs: BatchTable, batch: str, chunk: int, start: int) -> Any:  # noqa: ANN401 - hands on
        read_partitions.append(chunk)
        return partition(jobs, batch, chunk, start)

    monkeypatch.setattr(BatchTable, "_partition", noted)

    assert finish(aws).state is BatchState.RUNNING
    assert read_partitions == [0]

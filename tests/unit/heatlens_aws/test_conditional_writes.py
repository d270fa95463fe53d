"""Every call of the table outlasts running transactions and throttling, and gives up after a bounded time."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from heatlens_aws.batch_table import BatchTable, Declared
from heatlens_aws.clients import connect
from heatlens_aws.conditional_writes import PATIENCE_S, TRIES, RetryingClient, is_passing, retry_passing
from heatlens_aws.creation import Creations, Quota, RequestKey
from heatlens_aws.records import Batch, BatchState, FileState, Progress
from heatlens_aws.tombstones import Tombstone, Tombstones
from infra.local_account import CREDENTIALS
from tests.support.aws import ID, OPEN_BATCH, WRITES, Account, account, meet_transactions
from tests.support.paths import ROOT

FILE = Declared("scan.png", 10, "0" * 64, "image/png")
NEW = replace(OPEN_BATCH, id="01J00000000000000000000001")
TOMBSTONE = Tombstone.of(OPEN_BATCH, now=1, until=9)
KEY = RequestKey.of("me", "a", {})


def now(jobs: BatchTable) -> Batch:
    batch = jobs.batch(ID)
    assert batch is not None
    return batch


def closed(jobs: BatchTable) -> Batch:
    jobs.close(ID)
    return now(jobs)


def submitted(jobs: BatchTable) -> Any:  # noqa: ANN401 - a file
    jobs.submit(ID, 0, {"attempt": "a"})
    return jobs.file(ID, 0)


# Every method of the table that calls DynamoDB, at a batch with two files. A new one needs a line here.
CALLS: dict[str, Callable[[BatchTable], object]] = {
    "create": lambda jobs: jobs.create(replace(OPEN_BATCH, id="2")),
    "batch": lambda jobs: jobs.batch(ID) is not None,
    "close": lambda jobs: jobs.close(ID),
    "decide_end": lambda jobs: jobs.decide_end(ID, BatchState.CANCELLED, 5),
    "extend_deadline": lambda jobs: jobs.extend_deadline(ID, 5000),
    "finish": lambda jobs: jobs.finish(closed(jobs), BatchState.FAILED, Counter()),
    "postpone": lambda jobs: jobs.postpone(ID, 9),
    "unfinished": lambda jobs: jobs.unfinished(limit=5),
    "declare": lambda jobs: jobs.declare(now(jobs), [FILE] * 3),
    "file": lambda jobs: jobs.file(ID, 1),
    "files": lambda jobs: list(jobs.files(now(jobs))),
    "files_at": lambda jobs: jobs.files_at(ID, [0, 1, 5]),
    "remember": lambda jobs: jobs.remember(ID, Progress(upto=1, counts=Counter({FileState.OK: 1}))),
    "fill_gap": lambda jobs: jobs.fill_gap(now(jobs), 5),
    "settle": lambda jobs: jobs.settle(ID, 0, FileState.OK, {"attempt": "a"}),
    "submit": lambda jobs: jobs.submit(ID, 0, {"attempt": "a"}),
    "withdraw": lambda jobs: jobs.withdraw(submitted(jobs)),
    "count_resend": lambda jobs: jobs.count_resend(jobs.file(ID, 0), now=9, after_s=1, most=3),  # type: ignore[arg-type]
    "settle_drop": lambda jobs: jobs.settle_drop("identity", {"state": "OK"}, expires_at=1),
    "drop": lambda jobs: jobs.drop("identity"),
    "creations.create": lambda jobs: jobs.creations.create(NEW, "answer", key=KEY, quota=Quota(batches=2)),
    "creations.find": lambda jobs: jobs.creations.find(KEY.id, now=1),
    "creations.forget": lambda jobs: jobs.creations.forget(replace(OPEN_BATCH, idempotency=KEY.id)),
    "tombstones.put": lambda jobs: jobs.tombstones.put(TOMBSTONE),
    "tombstones.find": lambda jobs: jobs.tombstones.find(ID),
    "tombstones.due": lambda jobs: jobs.tombstones.due(5, limit=5),
    "tombstones.postpone": lambda jobs: jobs.tombstones.postpone(ID, 4),
    "tombstones.wake": lambda jobs: jobs.tombstones.wake(ID),
    "tombstones.erased": lambda jobs: jobs.tombstones.erased(ID, 7),
    "tombstones.remove": lambda jobs: jobs.tombstones.remove(ID),
    "tombstones.files_left": lambda jobs: jobs.tombstones.files_left(TOMBSTONE),
    "tombstones.erase_files": lambda jobs: list(jobs.tombstones.erase_files(TOMBSTONE)),
}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


@dataclass
class Tables:
    """One table behind two clients; one of them meets transactions."""

    aws: Account
    calm: BatchTable
    busy: BatchTable
    refused: list[str]

    def outcome(self, name: str, jobs: BatchTable) -> tuple[str, list[str]]:
        """Make a batch with two files, call a method, and return its result and the rows."""
        self.calm.create(OPEN_BATCH)
        self.calm.declare(OPEN_BATCH, [FILE] * 2)
        self.refused.clear()
        result = CALLS[name](jobs)
        rows = self._empty()
        plain = [{name: value for name, value in row.items() if name not in ("taken_by", "last_token")} for row in rows]
        return repr(result), sorted(map(repr, plain))

    def _empty(self) -> list[dict[str, Any]]:
        dynamodb, table = self.aws.clients.dynamodb, self.aws.settings.table
        rows: list[dict[str, Any]] = dynamodb.scan(TableName=table)["Items"]
        for row in rows:
            dynamodb.delete_item(TableName=table, Key={"PK": row["PK"], "SK": row["SK"]})
        return rows


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with patch.dict(os.environ, CREDENTIALS), account() as aws:
        client = connect(aws.settings).dynamodb
        yield Tables(aws, aws.jobs, BatchTable(client, aws.settings.table), meet_transactions(client))


@pytest.mark.parametrize("name", CALLS)
def test_every_call_outlasts_a_running_transaction_and_throttling(name: str, tables: Tables) -> None:
    met = tables.outcome(name, tables.busy)

    assert tables.refused
    assert met == tables.outcome(name, tables.calm)


def test_every_method_of_the_table_is_tried() -> None:
    parts = {"": BatchTable, "creations.": Creations, "tombstones.": Tombstones}
    public = {f"{part}{name}" for part, kind in parts.items() for name in vars(kind) if not name.startswith("_")}

    assert public == set(CALLS)
    jobs = BatchTable(None, "table")
    assert {name for name in vars(jobs) if not name.startswith("_")} == {"creations", "tombstones"}
    assert all(isinstance(part._dynamodb, RetryingClient) for part in (jobs.creations, jobs.tombstones))


def test_every_kind_of_write_is_refused_somewhere(tables: Tables) -> None:
    met: set[str] = set()
    for name in CALLS:
        tables.outcome(name, tables.busy)
        met |= set(tables.refused)

    assert met >= WRITES


def test_no_source_calls_dynamodb_past_the_retries() -> None:
    raw = re.compile(r"(?<!BatchTable\(clients)\.dynamodb\b(?!\.types)|boto3\.(client|resource)\(\s*\"dynamodb")
    sources = [path for folder in ("layers", "functions") for path in (ROOT / folder).rglob("*.py")]
    found = {path.name for path in sources if raw.search(path.read_text())}

    assert found == {"clients.py"}  # which makes the client
    assert isinstance(BatchTable(None, "table")._dynamodb, RetryingClient)


def test_only_operations_can_be_called(tables: Tables) -> None:
    with pytest.raises(AttributeError, match="get_paginator"):
        RetryingClient(tables.aws.clients.dynamodb).get_paginator("query")


def failure(code: str, *reasons: str) -> ClientError:
    response: Any = {"Error": {"Code": code}, "CancellationReasons": [{"Code": reason} for reason in reasons]}
    return ClientError(response, "TransactWriteItems")


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (failure("TransactionConflictException"), True),
        (failure("ThrottlingException"), True),
        (failure("ProvisionedThroughputExceededException"), True),
        (failure("TransactionCanceledException", "None", "TransactionConflict"), True),
        (failure("TransactionCanceledException", "ThrottlingError", "None"), True),
        (failure("TransactionCanceledException", "ConditionalCheckFailed", "None"), False),
        (failure("ConditionalCheckFailedException"), False),
        (failure("ResourceNotFoundException"), False),
        (ValueError(), False),
    ],
)
def test_retries_only_what_another_try_can_pass(error: Exception, passing: bool) -> None:  # noqa: FBT001
    assert is_passing(error) is passing


def test_gives_up_after_a_bounded_number_of_tries(pauses: list[float]) -> None:
    tries: list[int] = []

    @retry_passing
    def call() -> None:
        tries.append(1)
        raise failure("TransactionConflictException")

    with pytest.raises(ClientError, match="TransactionConflictException"):
        call()

    assert 1 < len(tries) <= TRIES
    assert len(pauses) == len(tries) - 1
    assert len(set(pauses)) == len(pauses)  # of random length
    assert sum(pauses) < PATIENCE_S

"""What the table of staged batches does under load: writes that meet a running transaction, throttling."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from functions.batch.sweep import sweep
from heatlens.model import Model
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.records import Attributes, File, FileState, attributes, batch_key, file_row
from heatlens_web.batches.service import BatchService
from infra.local_account import CREDENTIALS
from tests.support.aws import ID, WRITES, Account, account, meet_transactions
from tests.support.life import Life, live
from tests.support.staged import Staged, desk


def test_no_caller_notices_that_its_first_write_met_a_transaction(
    tiny_model: Model, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API answered 503, and a worker's commit was redelivered: the client library does not retry this error."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with patch.dict(os.environ, CREDENTIALS), account() as aws:
        life = Life(aws, tiny_model, tiny_folder)
        functions = (life.api, life.batch, life.sweeper)
        refused = [meet_transactions(each.jobs._dynamodb._client) for each in functions]

        live(life)  # checks what every function has done

    assert all("UpdateItem" in each for each in refused)
    assert {operation for each in refused for operation in each} >= WRITES


FILES = 10_000
STILL_OPEN = range(700, FILES, 1000)  # ten of them, in every partition one


class Rows:
    """The rows of 10,000 files, in moto's place, which takes minutes for them; `read` counts those that were read."""

    def __init__(self) -> None:
        self.read = 0
        self.rows: dict[int, Attributes] = {}
        for number in range(FILES):
            file = File(batch=ID, number=number, state=FileState.OK, name="a", size=1, sha256="", media_type="")
            self.rows[number] = file_row(file, 4_000_000_000) | attributes({"state": "OK", "outcome": {"attempt": "a"}})

    def end(self, number: int, state: FileState) -> None:
        self.rows[number] |= attributes({"state": state.value})

    def partition(self, batch: str, chunk: int, start: int) -> Iterator[Attributes]:
        assert batch == ID
        for number in range(max(start, chunk * 1000), chunk * 1000 + 1000):
            yield self._one(number)

    def get_all(self, keys: list[Attributes]) -> list[Attributes]:
        return [self._one(int(key["SK"]["S"].removeprefix("F#"))) for key in keys]

    def _one(self, number: int) -> Attributes:
        self.read += 1
        return self.rows[number]


def test_a_sweep_of_a_large_batch_reads_the_few_rows_that_are_open(
    aws: Account, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three reads of all rows in every sweep took four seconds of processor time a minute, and so did each status."""
    staged, rows = desk(aws, tiny_model), Rows()
    monkeypatch.setattr(BatchTable, "_partition", lambda _, *arguments: rows.partition(*arguments))
    monkeypatch.setattr(BatchTable, "_get_all", lambda _, keys: rows.get_all(keys))
    staged.batch()
    for number in STILL_OPEN:
        rows.end(number, FileState.PENDING)
        staged.put(b"bytes", number)
    aws.clients.dynamodb.update_item(
        TableName=aws.settings.table,
        Key=batch_key(ID),
        UpdateExpression="SET declared = :files, expected = :files",
        ExpressionAttributeValues=attributes({":files": FILES}),
    )
    aws.jobs.close(ID)

    # The call that would finish the batch reads the first open row again.
    assert _rows_of_a_sweep(staged, rows) == FILES + 1
    assert _rows_of_a_sweep(staged, rows) == len(STILL_OPEN) + 1
    service, rows.read = BatchService(aws.jobs, aws.staging, aws.settings), 0
    assert service.status(staged.read()).counts["OK"] == FILES - len(STILL_OPEN)
    assert rows.read == len(STILL_OPEN)

    for number in STILL_OPEN:
        rows.end(number, FileState.FAILED)
    assert _rows_of_a_sweep(staged, rows) == len(STILL_OPEN) + FILES  # once for the manifest and the final counts
    rows.read = 0
    status = service.status(staged.read())
    assert (status.state, status.counts["FAILED"], rows.read) == ("partial", len(STILL_OPEN), 0)


def _rows_of_a_sweep(staged: Staged, rows: Rows) -> int:
    rows.read = 0
    assert sweep(staged.context.account, int(time.time()), lambda: 100) == {"swept": 1, "failed": 0}
    return rows.read

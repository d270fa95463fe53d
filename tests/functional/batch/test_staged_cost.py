"""The calls to AWS that one staged image causes, counted: the price of a staged heatmap is made of them."""

import math
from collections import Counter
from typing import Any

import pytest

from functions.batch.messages import parse_messages
from functions.batch.worker import work
from heatlens.model import Model
from heatlens_cli.cost import formula
from tests.support.aws import Account
from tests.support.paths import ROOT
from tests.support.staged import Staged, desk, picture

KB = 1024


def size(value: dict[str, Any]) -> int:
    """Bytes of a value, as DynamoDB documents them."""
    [(kind, content)] = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content) // 2 + 2
    if kind == "M":
        return 3 + sum(len(name) + size(each) + 1 for name, each in content.items())
    return 1


def units(row: dict[str, Any]) -> int:
    """Write request units of a row: a KB each, of names and values."""
    return math.ceil(sum(len(name) + size(value) for name, value in row.items()) / KB)


def calls_of(staged: Staged, images: int) -> Counter[str]:
    """Calls that files of one batch cause: declaring, uploading, explaining and committing."""
    counted: Counter[str] = Counter()

    def count(model: Any, params: Any, **_: Any) -> None:  # noqa: ANN401 - botocore's
        counted[model.name] += 1

    for client in (staged.aws.clients.s3, staged.aws.clients.dynamodb):
        client.meta.events.register("before-call", count)
    data = [picture(seed) for seed in range(images)]
    staged.batch(*data)
    stored = [staged.put(each, number) for number, each in enumerate(data)]
    assert work(staged.context, parse_messages(staged.received(*stored)), lambda: 100.0) == set()
    for client in (staged.aws.clients.s3, staged.aws.clients.dynamodb):
        client.meta.events.unregister("before-call", count)
    return counted


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


@pytest.fixture
def counted(staged: Staged) -> Counter[str]:
    return calls_of(staged, 8)


def test_objects_are_written_and_read_as_often_as_is_billed(counted: Counter[str]) -> None:
    client_reads_the_picture = 1

    assert counted["PutObject"] == 8 * formula.STAGED_PUTS
    assert counted["GetObject"] == 8 * (formula.STAGED_GETS - client_reads_the_picture)
    assert not {"HeadObject", "CopyObject", "ListObjectsV2"} & set(counted)


def test_rows_are_written_as_often_as_is_billed(staged: Staged, counted: Counter[str], aws: Account) -> None:
    [row] = [
        item
        for item in aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"]
        if item["SK"]["S"] == "F#00003"
    ]
    settled = staged.file(3)
    declared = {name: value for name, value in row.items() if name != "outcome"}

    assert settled.outcome["objects"].keys() == {"overlay.png", "map.npy", "result.json"}
    assert counted["TransactWriteItems"] == 1, "all rows of one call, which DynamoDB counts twice each"
    assert counted["GetItem"] // 8 == formula.STAGED_READ_UNITS
    assert counted["UpdateItem"] - 8 in (0, 1), "a commit for each, and the deadline once"
    assert 2 * units(declared) + units(row) == formula.STAGED_WRITE_UNITS


def test_the_days_of_storage_are_the_templates() -> None:
    template = (ROOT / "template.yaml").read_text()

    kept = 1  # NoncurrentVersionExpiration
    assert f"Prefix: in/, ExpirationInDays: {formula.UPLOAD_DAYS - kept} " in template
    assert f"Prefix: out/, ExpirationInDays: {formula.RESULT_DAYS - kept} " in template
    assert f"NoncurrentVersionExpiration: {{ NoncurrentDays: {kept} }}" in template
    assert template.count(f"BatchSize: {formula.SQS_BATCH}\n") == 2

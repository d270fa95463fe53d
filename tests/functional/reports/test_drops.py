"""A later backfill explains no dropped object twice: the row of an object lives as long as the object, or longer."""

import time
from dataclasses import replace

import pytest

from heatlens.model import Model
from heatlens_aws.settings import DAY
from tests.support.aws import Account
from tests.support.staged import Staged, desk, picture

LAG_S = 3 * DAY  # an object that has expired may stay for days


def pass_time(staged: Staged, days: int, drop_days: int) -> None:
    """Delete the row and the object if their time is over, as DynamoDB and S3 do."""
    clients, settings = staged.aws.clients, staged.aws.settings
    now = time.time() + days * DAY
    for row in clients.dynamodb.scan(TableName=settings.table)["Items"]:
        if int(row.get("expires_at", {"N": "99999999999"})["N"]) < now:
            clients.dynamodb.delete_item(TableName=settings.table, Key={name: row[name] for name in ("PK", "SK")})
    if drop_days and days * DAY > drop_days * DAY + LAG_S:
        clients.s3.delete_object(Bucket=settings.bucket, Key="drop/a.png")


def backfill(staged: Staged) -> None:
    """Send the message that a backfill sends for an object that it finds."""
    for stored in staged.aws.staging.uploaded("drop/"):
        staged.work(staged.received(stored))


def explained_drop(aws: Account, model: Model, drop_days: int) -> Staged:
    """Explain a dropped object where such objects are kept for some days."""
    staged = desk(aws, model)
    account = staged.context.account
    settings = account.settings.model_copy(update={"drop_days": drop_days})
    staged.context = replace(staged.context, account=replace(account, settings=settings))
    staged.work(staged.received(staged.put(picture(), key="drop/a.png")))
    return staged


@pytest.mark.parametrize("drop_days", [0, 1, 30, 365])
def test_a_backfill_explains_nothing_twice(aws: Account, tiny_model: Model, drop_days: int) -> None:
    staged = explained_drop(aws, tiny_model, drop_days)

    for days in (1, 2, 4, 5, 31, 33, 35, 364, 367, 400, 4000):
        pass_time(staged, days, drop_days)
        backfill(staged)

    assert staged.engine.sizes == [1]


@pytest.mark.parametrize("drop_days", [1, 30])
def test_the_row_of_an_expired_object_expires_too(aws: Account, tiny_model: Model, drop_days: int) -> None:
    staged = explained_drop(aws, tiny_model, drop_days)

    pass_time(staged, drop_days + 10, drop_days)

    assert aws.clients.dynamodb.scan(TableName=aws.settings.table)["Count"] == 0

"""An AWS account in memory: versioned bucket, table and queues, as the stack makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ConnectionClosedError
from moto import mock_aws

from heatlens_aws.batch_table import BatchTable
from heatlens_aws.clients import Clients, connect
from heatlens_aws.object_keys import Lane
from heatlens_aws.records import Batch, BatchState
from heatlens_aws.settings import AwsSettings
from heatlens_aws.staging import Staging
from heatlens_aws.tombstones import Tombstone
from infra.local_account import atomic_table, make_bucket, make_queues, make_table

SETTINGS = AwsSettings(bucket="heatlens-staging", table="heatlens-jobs")
ID = "01J00000000000000000000000"
OPEN_BATCH = Batch(
    id=ID,
    owner="me",
    state=BatchState.OPEN,
    lane=Lane.INTERACTIVE,
    expected=10,
    declared=0,
    options={"alpha": 0.4},
    model="m" * 64,
    created=1000,
    deadline=2000,
    expires_at=3000,
)


@dataclass(frozen=True)
class Account:
    settings: AwsSettings
    clients: Clients
    jobs: BatchTable
    staging: Staging


@contextmanager
def account() -> Iterator[Account]:
    """Make an account; needs CREDENTIALS in the environment, see the fixture `aws`."""
    with mock_aws(), atomic_table():
        clients = connect(SETTINGS)
        make_bucket(clients, SETTINGS.bucket)
        make_table(clients, SETTINGS.table)
        settings = SETTINGS.model_copy(update=make_queues(clients))
        yield Account(
            settings,
            clients,
            BatchTable(clients.dynamodb, settings.table),
            Staging(clients.s3, settings.bucket),
        )


def purged(account: Account, batch: Batch, *, now: int = 1_000_000_000, life_s: int = 1000) -> Tombstone:
    """Purge a batch as the API does."""
    account.jobs.tombstones.put(Tombstone.of(batch, now=now, until=now + life_s))
    tombstone = account.jobs.tombstones.find(batch.id)
    assert tombstone is not None
    return tombstone


def lose_an_answer(client: Any, operation: str) -> list[str]:  # noqa: ANN401 - boto3 has no types
    """Break the connection once after the service has done an operation, which the client library retries.

    Returns:
        The operation, once that has happened.
    """
    lost: list[str] = []
    endpoint = client._endpoint
    answered = endpoint._do_get_response

    def broken(request: Any, model: Any, context: Any) -> Any:  # noqa: ANN401
        answer = answered(request, model, context)
        if model.name == operation and not lost:
            lost.append(operation)
            return None, ConnectionClosedError(endpoint_url=operation)
        return answer

    endpoint._do_get_response = broken
    return lost


WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}  # that a running transaction refuses
LIBRARY_TRIES = 3  # of botocore, at what it retries itself


def meet_transactions(client: Any) -> list[str]:  # noqa: ANN401 - boto3 has no types
    """Refuse every call's first try: a write as if its row were in a running transaction, the others by throttling.

    moto shows neither. botocore retries throttling itself, so such a call is refused as often as that.

    Returns:
        The refused operations, in order; the list grows.
    """
    refused: list[str] = []
    before: list[str] = []  # tries of the current call
    endpoint = client._endpoint
    answered = endpoint._do_get_response

    def meeting(request: Any, model: Any, context: Any) -> Any:  # noqa: ANN401
        if len(before) == (1 if model.name in WRITES else LIBRARY_TRIES):
            before.clear()
            return answered(request, model, context)
        before.append(model.name)
        refused.append(model.name)
        return (SimpleNamespace(status_code=400, headers={}, content=b""), _refusal(model.name)), None

    endpoint._do_get_response = meeting
    return refused


def _refusal(operation: str) -> dict[str, Any]:
    """Write DynamoDB's refusal as botocore parses it."""
    code, reasons = "ProvisionedThroughputExceededException", dict[str, Any]()
    if operation == "TransactWriteItems":
        code, reasons = "TransactionCanceledException", {"CancellationReasons": [{"Code": "TransactionConflict"}]}
    elif operation in WRITES:
        code = "TransactionConflictException"
    return reasons | {"Error": {"Code": code, "Message": "planned"}, "ResponseMetadata": {"HTTPStatusCode": 400}}


@dataclass
class Reads:
    """File rows that calls have returned."""

    rows: int = 0


def count_reads(client: Any) -> Reads:  # noqa: ANN401 - boto3 has no types
    """Count the rows that a DynamoDB client reads from now on."""
    reads = Reads()

    def count(parsed: dict[str, Any], **_: object) -> None:
        tables = parsed.get("Responses", {})
        rows = [*parsed.get("Items", []), *(row for rows in tables.values() for row in rows)]
        reads.rows += sum(row["SK"]["S"].startswith("F#") for row in rows)

    client.meta.events.register("after-call.dynamodb", count)
    return reads

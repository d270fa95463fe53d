"""An AWS account in memory: versioned bucket, table and queue, as the stack makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ConnectionClosedError
from moto import mock_aws

from heatlens_aws.batch_table import BatchTable
from heatlens_aws.clients import Clients, connect
from heatlens_aws.settings import AwsSettings
from heatlens_aws.staging import Staging
from infra.local_account import atomic_table, make_bucket, make_table

SETTINGS = AwsSettings(bucket="heatlens-staging", table="heatlens-jobs")


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
        queue = clients.sqs.create_queue(QueueName="heatlens", Attributes={"VisibilityTimeout": "720"})["QueueUrl"]
        settings = SETTINGS.model_copy(update={"queue_url": queue})
        yield Account(
            settings,
            clients,
            BatchTable(clients.dynamodb, settings.table),
            Staging(clients.s3, settings.bucket),
        )


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

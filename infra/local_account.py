"""Run a local AWS account: moto's server with bucket, queue and table connected as in the stack."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any
from unittest.mock import patch

from moto.dynamodb.responses import DynamoHandler
from moto.server import ThreadedMotoServer

from heatlens_aws.clients import Clients, connect
from heatlens_aws.object_keys import DROP, Lane
from heatlens_aws.settings import AwsSettings

BUCKET, TABLE = "heatlens-staging", "heatlens-jobs"
QUEUES = {Lane.INTERACTIVE: "heatlens-interactive", Lane.BULK: "heatlens-bulk"}
PREFIXES = ((Lane.INTERACTIVE.prefix, Lane.INTERACTIVE), (Lane.BULK.prefix, Lane.BULK), (DROP, Lane.BULK))
VISIBILITY_S = 720
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


@dataclass(frozen=True, slots=True)
class LocalAccount:
    """Settings and clients of a local account; `environment` configures a function's or a server's process for it."""

    settings: AwsSettings
    clients: Clients
    environment: dict[str, str]


@contextmanager
def local_account() -> Iterator[LocalAccount]:
    """Run a server on a free port with the account's resources, until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per call otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with atomic_table():
        server.start()
        before = dict(os.environ)
        try:
            host, port = server.get_host_and_port()
            os.environ.update(CREDENTIALS)
            yield wired(f"http://{host}:{port}")
        finally:
            os.environ.clear()
            os.environ.update(before)
            server.stop()


@contextmanager
def atomic_table() -> Iterator[None]:
    """Serialize moto's calls on its tables, so that each is atomic, as in DynamoDB.

    Its transactions copy the table, which fails while another thread writes to it. If a condition fails they restore
    the copy, which loses what another thread has written since.
    """
    lock, call_action = Lock(), DynamoHandler.call_action

    def alone(handler: DynamoHandler) -> Any:  # noqa: ANN401 - moto's
        with lock:
            return call_action(handler)

    with patch.object(DynamoHandler, "call_action", alone):
        yield


def wired(endpoint_url: str) -> LocalAccount:
    """Create bucket, queues and table at an endpoint, and send the bucket's events to the lanes' queues."""
    settings = AwsSettings(bucket=BUCKET, table=TABLE, endpoint_url=endpoint_url)
    clients = connect(settings)
    make_bucket(clients, BUCKET)
    make_table(clients, TABLE)
    urls = make_queues(clients)
    announce_uploads(clients, BUCKET, urls)
    environment = CREDENTIALS | {
        "HEATLENS_BUCKET": BUCKET,
        "HEATLENS_TABLE": TABLE,
        "HEATLENS_ENDPOINT_URL": endpoint_url,
    }
    environment |= {f"HEATLENS_{name.upper()}": url for name, url in urls.items()}
    return LocalAccount(settings.model_copy(update=urls), clients, environment)


def make_queues(clients: Clients, names: Mapping[Lane, str] = QUEUES) -> dict[str, str]:
    """Create the queue of each lane; return their URLs by the names of their settings."""
    attributes = {"VisibilityTimeout": str(VISIBILITY_S)}
    return {
        f"{lane}_queue_url": clients.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        for lane, name in names.items()
    }


def announce_uploads(clients: Clients, bucket: str, urls: Mapping[str, str]) -> None:
    """Send the events of each prefix of a bucket to its lane's queue."""
    queues = [
        {
            "QueueArn": _queue_arn(clients, urls[f"{lane}_queue_url"]),
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}},
        }
        for prefix, lane in PREFIXES
    ]
    clients.s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": queues}
    )


def _queue_arn(clients: Clients, url: str) -> str:
    answer = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = answer["Attributes"]["QueueArn"]
    return arn


def make_bucket(clients: Clients, bucket: str) -> None:
    """Create a versioned bucket."""
    clients.s3.create_bucket(Bucket=bucket)
    clients.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def make_table(clients: Clients, table: str) -> None:
    """Create the table with its sparse index of unfinished batches."""
    keys = {"PK": "HASH", "SK": "RANGE"}
    index = {"open_pk": "HASH", "open_sk": "RANGE"}
    clients.dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (*keys, *index)],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "open",
                "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in index.items()],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )


def sqs_event(messages: list[dict[str, Any]], queue: str = QUEUES[Lane.INTERACTIVE]) -> dict[str, Any]:
    """Build the event in which Lambda's poller passes messages of a queue to a function."""
    return {"Records": [_record(message, queue) for message in messages]}


def _record(message: dict[str, Any], queue: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{queue}",
        "awsRegion": "us-east-1",
    }

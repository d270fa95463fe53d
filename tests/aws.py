"""An account of our own, in memory: versioned bucket, table, and queue, as the stack makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moto import mock_aws

from heatlens_aws.clients import Clients, connect
from heatlens_aws.jobs import Jobs
from heatlens_aws.settings import AwsSettings
from heatlens_aws.staging import Staging

SETTINGS = AwsSettings(bucket="heatlens-staging", table="heatlens-jobs")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass(frozen=True)
class Account:
    settings: AwsSettings
    clients: Clients
    jobs: Jobs
    staging: Staging


@contextmanager
def account() -> Iterator[Account]:
    """Needs CREDENTIALS in the environment: see the fixture `aws`."""
    with mock_aws():
        clients = connect(SETTINGS)
        build(clients, SETTINGS)
        queue = clients.sqs.create_queue(QueueName="heatlens", Attributes={"VisibilityTimeout": "720"})["QueueUrl"]
        settings = SETTINGS.model_copy(update={"queue_url": queue})
        yield Account(
            settings,
            clients,
            Jobs(clients.dynamodb, settings.table),
            Staging(clients.s3, settings.bucket),
        )


def build(clients: Clients, settings: AwsSettings) -> None:
    """Make the bucket and the table."""
    clients.s3.create_bucket(Bucket=settings.bucket)
    clients.s3.put_bucket_versioning(Bucket=settings.bucket, VersioningConfiguration={"Status": "Enabled"})
    clients.dynamodb.create_table(
        TableName=settings.table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK", "open_pk", "open_sk")
        ],
        KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "open",
                "KeySchema": [
                    {"AttributeName": "open_pk", "KeyType": "HASH"},
                    {"AttributeName": "open_sk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )

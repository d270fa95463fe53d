"""Make the AWS clients, with signatures and timeouts that fit."""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from heatlens_aws.settings import AwsSettings

# The gateway waits thirty seconds, boto3 by default sixty for each try; a long poll of a queue takes twenty.
CONNECT_S, READ_S, TRIES = 3, 25, 3
FAILURES = (BotoCoreError, ClientError)  # of a service that is missing, refuses, or cannot be reached


@dataclass(frozen=True, slots=True)
class Clients:
    """One client per service; they are safe to share between threads."""

    s3: Any
    sqs: Any
    dynamodb: Any
    sagemaker: Any = None  # only where an endpoint is configured


def connect(settings: AwsSettings) -> Clients:
    """Make the clients.

    By default boto3 presigns with signature version 2 on the global host, which newer regions refuse.
    """
    region, endpoint = settings.region, settings.endpoint_url or None
    retries = {"mode": "standard", "total_max_attempts": TRIES}
    timeouts = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
    addressing = "path" if endpoint else "virtual"
    signing = Config(
        signature_version="s3v4",
        s3={"addressing_style": addressing, "us_east_1_regional_endpoint": "regional"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    ).merge(timeouts)
    return Clients(
        s3=boto3.client("s3", region_name=region, endpoint_url=endpoint, config=signing),
        sqs=boto3.client("sqs", region_name=region, endpoint_url=endpoint, config=timeouts),
        dynamodb=boto3.client("dynamodb", region_name=region, endpoint_url=endpoint, config=timeouts),
        sagemaker=_runtime(settings, timeouts) if settings.async_endpoint else None,
    )


def _runtime(settings: AwsSettings, timeouts: Config) -> Any:  # noqa: ANN401 - boto3 has no types
    endpoint = settings.endpoint_url or None
    return boto3.client("sagemaker-runtime", region_name=settings.region, endpoint_url=endpoint, config=timeouts)

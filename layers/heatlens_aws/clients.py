"""Settings -> the AWS clients, made so that what they sign is accepted where it is sent."""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from heatlens_aws.settings import AwsSettings

# A gateway waits thirty seconds for us, and boto3 by itself sixty for each try; a long poll of a queue takes twenty.
CONNECT_S, READ_S, TRIES = 3, 25, 3
FAILURES = (BotoCoreError, ClientError)  # what a service that is missing, refuses, or cannot be reached ends in


@dataclass(frozen=True, slots=True)
class Clients:
    """One client per service; they are safe to share between threads."""

    s3: Any
    sqs: Any
    dynamodb: Any
    sagemaker: Any = None  # only where an endpoint is named


def connect(settings: AwsSettings) -> Clients:
    """Make the clients.

    Left to itself boto3 presigns with the second signature version on the global host, which newer regions refuse.
    """
    region, endpoint = settings.region, settings.endpoint_url or None
    retries = {"mode": "standard", "total_max_attempts": TRIES}
    patience = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
    addressing = "path" if endpoint else "virtual"
    signing = Config(
        signature_version="s3v4",
        s3={"addressing_style": addressing, "us_east_1_regional_endpoint": "regional"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    ).merge(patience)
    return Clients(
        s3=boto3.client("s3", region_name=region, endpoint_url=endpoint, config=signing),
        sqs=boto3.client("sqs", region_name=region, endpoint_url=endpoint, config=patience),
        dynamodb=boto3.client("dynamodb", region_name=region, endpoint_url=endpoint, config=patience),
        sagemaker=_runtime(settings, patience) if settings.async_endpoint else None,
    )


def _runtime(settings: AwsSettings, patience: Config) -> Any:  # noqa: ANN401 - boto3 has no types
    endpoint = settings.endpoint_url or None
    return boto3.client("sagemaker-runtime", region_name=settings.region, endpoint_url=endpoint, config=patience)

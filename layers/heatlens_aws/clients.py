"""Make the AWS clients, with signatures and timeouts that fit."""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from heatlens_aws.settings import AwsSettings

TRIES = 3
PAUSES = 1 / 8  # part of a call's time for the pauses between its tries: at most 1 and 2 s, which 24 s have room for
CONNECT = 1 / 3  # part of a try's time for connecting
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
    connect_s, read_s = try_seconds(settings.aws_call_s)
    timeouts = Config(connect_timeout=connect_s, read_timeout=read_s, retries=retries)
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


def try_seconds(call_s: float) -> tuple[float, float]:
    """Divide the seconds of a call into those for connecting and for waiting for bytes, of each try.

    The gateway waits thirty seconds for an answer, and boto3 by default sixty for each try.
    """
    one_try = call_s * (1 - PAUSES) / TRIES
    return one_try * CONNECT, one_try * (1 - CONNECT)


def _runtime(settings: AwsSettings, timeouts: Config) -> Any:  # noqa: ANN401 - boto3 has no types
    endpoint = settings.endpoint_url or None
    return boto3.client("sagemaker-runtime", region_name=settings.region, endpoint_url=endpoint, config=timeouts)

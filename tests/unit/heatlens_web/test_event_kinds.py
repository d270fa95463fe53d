import base64
import json
from typing import Any

import pytest
from fastapi import Request

from heatlens_web.errors import UnknownPrincipal
from heatlens_web.event_kinds import ADDRESS, UnknownEvent, read_event
from heatlens_web.principal import principal
from tests.support.paths import ROOT

RECORDED = ROOT / "tests" / "events"


@pytest.mark.parametrize("name", ["http-api-v2", "rest-api-v1", "alb", "function-url", "vpc-lattice-v2"])
def test_recorded_requests_are_accepted(name: str) -> None:
    event = json.loads((RECORDED / f"{name}.json").read_text())

    adapted = read_event(event)

    assert adapted["body"] == base64.b64decode(event["body"])
    assert adapted[ADDRESS][1] == "/api/inference/heatmap"


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        "x",
        {"Records": [{"eventSource": "aws:sqs", "body": "secret"}]},
        {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "secret"}}}]},
        {"Records": [{"cf": {"request": {"uri": "secret"}}}]},
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": "secret"}}},
        {"version": "2.0", "requestContext": None},
        {"version": "2.0", "requestContext": {}, "secret": 1},
        {"requestContext": {"connectionId": "secret", "eventType": "CONNECT"}},
    ],
)
def test_other_events_are_refused_with_the_kinds_and_without_their_content(event: Any) -> None:  # noqa: ANN401
    with pytest.raises(UnknownEvent) as refused:
        read_event(event)

    message = str(refused.value)
    for kind in ("HTTP API", "function URL", "REST API", "Application Load Balancer", "VPC Lattice"):
        assert kind in message
    assert "secret" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ({"sourceVpcArn": "arn:aws:ec2:us-east-1:1:vpc/vpc-0"}, "anonymous"),
        (
            {"type": "AWS_IAM", "principal": "arn:aws:sts::1:assumed-role/reader/alice"},
            "iam arn:aws:sts::1:assumed-role/reader",
        ),
    ],
)
def test_the_caller_of_vpc_lattice_is_the_one_that_it_has_verified(identity: Any, expected: str) -> None:  # noqa: ANN401
    assert principal(lattice(identity)) == expected


def test_a_caller_of_vpc_lattice_without_a_role_has_no_batches() -> None:
    with pytest.raises(UnknownPrincipal):
        principal(lattice({"type": "X509", "x509SubjectCn": "alice"}))


def lattice(identity: Any) -> Request:  # noqa: ANN401
    event = json.loads((RECORDED / "vpc-lattice-v2.json").read_text())
    event["requestContext"]["identity"] = identity
    return Request({"type": "http", "headers": [], "aws.event": read_event(event)})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"body": "secret"}, "body"),  # not base64
        ({"body": ["secret"]}, "body"),
        ({"headers": {"secret": 1}}, "headers"),
        ({"rawQueryString": {"secret": 1}}, "rawQueryString"),
        ({"isBase64Encoded": "secret"}, "isBase64Encoded"),
    ],
)
def test_the_message_names_the_part_that_is_wrong_and_not_its_content(change: dict[str, Any], part: str) -> None:
    event = json.loads((RECORDED / "http-api-v2.json").read_text())

    with pytest.raises(UnknownEvent, match=f"HTTP API.* has no usable {part}$") as refused:
        read_event(event | change)

    assert "secret" not in str(refused.value)

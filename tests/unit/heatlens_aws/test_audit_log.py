"""Audit lines in CloudWatch: one event each, in one stream for each process; a failure loses no request and no line."""

import logging
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from heatlens_aws.audit_log import AuditLog, open_audit_log
from heatlens_aws.settings import AwsSettings
from tests.support.aws import Account


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("heatlens.audit", logging.INFO, "", 0, message, None, None)


def test_each_line_is_an_event_of_this_process_s_stream(aws: Account) -> None:
    client = boto3.client("logs", region_name="us-east-1")
    client.create_log_group(logGroupName="audits")
    handlers = [open_audit_log(AwsSettings(audit_log_group="audits")) for _ in range(2)]

    for number, handler in enumerate([*handlers, handlers[0]]):
        handler.emit(record(f'{{"who": "{number}"}}'))

    events = client.filter_log_events(logGroupName="audits")["events"]
    by_stream: dict[str, list[str]] = {}
    for event in events:
        by_stream.setdefault(event["logStreamName"], []).append(event["message"])
    assert sorted(by_stream.values()) == [['{"who": "0"}', '{"who": "2"}'], ['{"who": "1"}']]


class Failing:
    """A client whose calls raise a given error."""

    def __init__(self, create: Exception | None, put: Exception | None) -> None:
        self.create, self.put, self.calls = create, put, list[str]()

    def create_log_stream(self, **_: Any) -> None:  # noqa: ANN401
        self.calls.append("create")
        if self.create:
            raise self.create

    def put_log_events(self, **_: Any) -> dict[str, Any]:  # noqa: ANN401
        self.calls.append("put")
        if self.put:
            raise self.put
        return {}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "x")


@pytest.mark.parametrize(
    ("create", "put", "says"),
    [
        (refused("ResourceNotFoundException"), None, "ClientError"),
        (None, refused("ThrottlingException"), "ClientError"),
        (None, EndpointConnectionError(endpoint_url="https://x"), "EndpointConnectionError"),
    ],
)
def test_a_line_that_cannot_be_stored_is_in_the_process_s_log(
    caplog: pytest.LogCaptureFixture, create: Exception | None, put: Exception | None, says: str
) -> None:
    AuditLog(Failing(create, put), "audits", "s").emit(record("the line"))

    [written] = [each for each in caplog.records if each.name == "heatlens_aws.audit_log"]
    assert written.getMessage() == f"the audit line could not be stored: {says}: the line"


def test_an_existing_stream_is_used_and_created_only_once() -> None:
    client = Failing(refused("ResourceAlreadyExistsException"), None)
    handler = AuditLog(client, "audits", "s")
    for _ in range(2):
        handler.emit(record("line"))

    assert client.calls == ["create", "put", "put"]


class Rejecting(Failing):
    """A client that answers 200 and stores nothing, as CloudWatch does with a time that it does not accept."""

    def put_log_events(self, **_: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"rejectedLogEventsInfo": {"tooNewLogEventStartIndex": 0}}


def test_a_line_that_is_rejected_with_200_is_in_the_process_s_log(caplog: pytest.LogCaptureFixture) -> None:
    AuditLog(Rejecting(None, None), "audits", "s").emit(record("the line"))

    [written] = [each for each in caplog.records if each.name == "heatlens_aws.audit_log"]
    assert written.getMessage() == "the audit line could not be stored: tooNewLogEventStartIndex: the line"


def test_a_log_group_that_was_deleted_and_made_again_is_used_again(
    aws: Account, caplog: pytest.LogCaptureFixture
) -> None:
    client = boto3.client("logs", region_name="us-east-1")
    client.create_log_group(logGroupName="audits")
    handler = open_audit_log(AwsSettings(audit_log_group="audits"))
    handler.emit(record("before"))
    client.delete_log_group(logGroupName="audits")
    handler.emit(record("lost"))
    client.create_log_group(logGroupName="audits")

    handler.emit(record("after"))

    assert [each["message"] for each in client.filter_log_events(logGroupName="audits")["events"]] == ["after"]
    assert [each.getMessage() for each in caplog.records if "could not be stored" in each.getMessage()] == [
        "the audit line could not be stored: ResourceNotFoundException: lost"
    ]

import json
from typing import Any

import pytest

from heatlens_aws.events import Created, NotAnEvent, created_objects, parse_body
from heatlens_aws.staging import Stored

Json = dict[str, Any]


def record(key: str = "in/a", name: str = "ObjectCreated:Put", version: str = "2.1", **thing: object) -> Json:
    return {
        "eventVersion": version,
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventName": name,
        "s3": {"bucket": {"name": "b"}, "object": {"key": key, "size": 5, "eTag": "e", "sequencer": "00"} | thing},
    }


def bridge(**thing: object) -> Json:
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"version": "0", "bucket": {"name": "b"}, "object": {"key": "in/a", "size": 5, "etag": "e"} | thing},
    }


def test_a_record_names_bucket_key_version_and_etag() -> None:
    event = {"Records": [record(versionId="v")]}

    assert created_objects(event) == [Created("b", Stored("in/a", "v", '"e"'), 5)]


def test_several_records_are_several_objects() -> None:
    event = {"Records": [record("in/a"), record("in/b")]}

    assert [created.stored.key for created in created_objects(event)] == ["in/a", "in/b"]


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.5", "3.0"])
def test_any_schema_version_is_accepted(version: str) -> None:
    assert len(created_objects({"Records": [record(version=version)]})) == 1


@pytest.mark.parametrize(
    ("written", "key"), [("a+b", "a b"), ("a%2Bb", "a+b"), ("a%252Fb", "a%2Fb"), ("Zo%C3%AB", "Zoë"), ("a/b", "a/b")]
)
def test_s3_encodes_its_keys_as_forms_do(written: str, key: str) -> None:
    [created] = created_objects({"Records": [record(written)]})

    assert created.stored.key == key


@pytest.mark.parametrize("key", ["a+b", "a%2Bb", "Zoë", "a b"])
def test_event_bridge_encodes_nothing(key: str) -> None:
    [created] = created_objects(bridge(key=key))

    assert created.stored.key == key


def test_event_bridge_version_and_etag_are_read() -> None:
    assert created_objects(bridge(**{"version-id": "v"})) == [Created("b", Stored("in/a", "v", '"e"'), 5)]


@pytest.mark.parametrize(
    "name", ["ObjectCreated:Post", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Put"]
)
def test_every_kind_of_creation_is_read(name: str) -> None:
    assert len(created_objects({"Records": [record(name=name)]})) == 1


@pytest.mark.parametrize("name", ["ObjectRemoved:Delete", "ObjectTagging:Put", ""])
def test_other_events_name_no_object(name: str) -> None:
    assert created_objects({"Records": [record(name=name)]}) == []
    assert created_objects(bridge() | {"detail-type": "Object Deleted"}) == []


def test_an_unversioned_object_is_identified_by_its_etag() -> None:
    [unversioned] = created_objects({"Records": [record()]})
    [null] = created_objects({"Records": [record(versionId="null")]})

    assert unversioned == null == Created("b", Stored("in/a", None, '"e"'), 5)
    assert unversioned.stored.identity == "e"


def test_s3s_test_event_names_no_object() -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "…", "Bucket": "b", "RequestId": "r"}

    assert created_objects(parse_body(json.dumps(event))) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[]",
        "null",
        "{}",
        '{"Records": 1}',
        '{"Records": [1]}',
        '{"Records": [{"eventName": "ObjectCreated:Put"}]}',
        '{"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "secret"}}]}',
        '{"Records": [{"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {"Keys": "secret"}}]}',
        '{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": 1}}}]}',
        '{"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {}}}',
        '{"source": "aws.s3", "detail-type": "Object Created", "detail": 1}',
        '{"source": "aws.ec2", "detail-type": "Object Created", "detail": {}}',
    ],
)
def test_rejects_unknown_messages_without_quoting_them(body: str) -> None:
    with pytest.raises(NotAnEvent) as refused:
        created_objects(parse_body(body))

    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("event", [{}, {"Records": [{"EventSource": "aws:sns"}]}, {"source": "aws.ec2"}])
def test_the_error_names_the_known_kinds_of_events(event: Json) -> None:
    with pytest.raises(NotAnEvent, match=r"S3 events and EventBridge events .* SQS .* SageMaker endpoint by SNS"):
        created_objects(event)


def test_rejects_a_message_nested_too_deep() -> None:
    with pytest.raises(NotAnEvent):
        created_objects(parse_body("[" * 100_000))

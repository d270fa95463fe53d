"""Parse the events that name stored objects: from S3, EventBridge, or either in an SQS message."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from aws_lambda_powertools.utilities.data_classes import S3Event
from aws_lambda_powertools.utilities.data_classes.s3_event import S3EventRecord

from heatlens_aws.staging import Stored

Json = dict[str, Any]
CREATED = "ObjectCreated:"
REQUEUED = "again"  # message attribute: the sweeper or redrive sent this message in place of an earlier one
KINDS = (
    "S3 events and EventBridge events of S3, directly or as messages of an SQS queue, and there also notices of an "
    "asynchronous SageMaker endpoint by SNS"
)


class NotAnEvent(ValueError):
    """The event or message is of no known kind."""


@dataclass(frozen=True, slots=True)
class Created:
    """An object that was created in a bucket; `size` is what the event says, in bytes."""

    bucket: str
    stored: Stored
    size: int | None


def created_objects(event: Json) -> list[Created]:
    """List the objects that an S3 or EventBridge event names; S3's test event names none.

    Raises:
        NotAnEvent: The event is of neither kind.
    """
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("source") == "aws.s3" and "detail" in event:
        return list(_from_eventbridge(event))
    if isinstance(event.get("Records"), list):
        return [created for record in S3Event(event).records for created in _from_s3(record)]
    raise NotAnEvent(f"an event of an unknown kind; known are {KINDS}")


def parse_body(body: str) -> Json:
    """Parse the event in an SQS message's body, also inside an SNS envelope.

    Raises:
        NotAnEvent: The body is no JSON object.
    """
    event = _parse_object(body)
    return _parse_object(event.get("Message")) if event.get("Type") == "Notification" else event


def _parse_object(text: Any) -> Json:  # noqa: ANN401 - an envelope holds whatever was sent
    try:
        event = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise NotAnEvent("not JSON") from error
    if not isinstance(event, dict):
        raise NotAnEvent("not an object")
    return event


def _from_s3(record: S3EventRecord) -> Iterator[Created]:
    """Read one record of any schema version; S3 encodes its keys as forms do."""
    try:
        entity = record.s3  # records of other services have none
        if not str(record.get("eventName", "")).removeprefix("s3:").startswith(CREATED):
            return
        thing, bucket = entity.get_object, entity.bucket.name
        stored = _stored(unquote_plus(thing.key), thing.version_id, thing.etag)
    except (KeyError, TypeError, AttributeError) as error:
        raise NotAnEvent(f"a record that is none of S3's, or without bucket or key; known are {KINDS}") from error
    yield Created(bucket, stored, thing.get("size"))


def _from_eventbridge(event: Json) -> Iterator[Created]:
    """Read an EventBridge event, whose keys are not encoded.

    Powertools' class for it decodes the key as a form's, which names another object where a key has `+` or `%`.
    """
    if event.get("detail-type") != "Object Created":
        return
    detail = event["detail"]
    try:
        thing, bucket = detail["object"], detail["bucket"]["name"]
        stored = _stored(thing["key"], thing.get("version-id"), thing.get("etag"))
    except (KeyError, TypeError, AttributeError) as error:
        raise NotAnEvent("an EventBridge event without bucket or key") from error
    yield Created(bucket, stored, thing.get("size"))


def _stored(key: str, version: str | None, etag: str | None) -> Stored:
    quoted = f'"{etag}"' if etag and not etag.startswith('"') else etag
    return Stored(key, version if version != "null" else None, quoted or None)

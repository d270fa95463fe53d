"""What S3 and its messengers send -> the objects they speak of."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from heatlens_aws.staging import Stored

Json = dict[str, Any]
CREATED = "ObjectCreated:"
AGAIN = "again"  # message attribute: sent by the sweeper or by redrive in place of an earlier message
KINDS = (
    "S3 events and EventBridge events of S3, directly or as messages of an SQS queue, and there also notices of an "
    "asynchronous SageMaker endpoint by SNS"
)


class NotAnEvent(ValueError):
    """A message that no known sender sends."""


@dataclass(frozen=True, slots=True)
class Created:
    """An object that appeared in a bucket; `size` is what the event says, bytes."""

    bucket: str
    stored: Stored
    size: int | None


def objects(event: Json) -> list[Created]:
    """The objects that an S3 event or an EventBridge event speaks of; none for S3's test event.

    Raises:
        NotAnEvent: Neither of them.
    """
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("source") == "aws.s3" and "detail" in event:
        return list(_from_eventbridge(event))
    if isinstance(event.get("Records"), list):
        return [created for record in event["Records"] for created in _from_s3(record)]
    raise NotAnEvent(f"an event of an unknown kind; known are {KINDS}")


def message_objects(body: str) -> list[Created]:
    """The objects that a queue's message speaks of, whether S3 sent it or EventBridge.

    Raises:
        NotAnEvent: The body is no such event.
    """
    return objects(unwrap(body))


def unwrap(body: str) -> Json:
    """The event in a queue's message, also where SNS has put it in an envelope of its own.

    Raises:
        NotAnEvent: There is none.
    """
    event = _parsed(body)
    return _parsed(event.get("Message")) if event.get("Type") == "Notification" else event


def _parsed(text: Any) -> Json:  # noqa: ANN401 - an envelope holds whatever was sent
    try:
        event = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise NotAnEvent("not JSON") from error
    if not isinstance(event, dict):
        raise NotAnEvent("not an object")
    return event


def _from_s3(record: Json) -> Iterator[Created]:
    """One record of any schema version 2.x; S3 encodes its keys as forms do."""
    try:
        entity = record["s3"]  # which other services' records, of streams or topics, do not have
        if not str(record.get("eventName", "")).removeprefix("s3:").startswith(CREATED):
            return
        thing = entity["object"]
        key, bucket = unquote_plus(thing["key"]), entity["bucket"]["name"]
    except (KeyError, TypeError, AttributeError) as error:
        raise NotAnEvent(f"a record that is none of S3's, or without bucket or key; known are {KINDS}") from error
    yield Created(bucket, _stored(key, thing.get("versionId"), thing.get("eTag")), thing.get("size"))


def _from_eventbridge(event: Json) -> Iterator[Created]:
    """EventBridge hands the key on as it is."""
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
    return Stored(key, version if version != "null" else None, quoted)

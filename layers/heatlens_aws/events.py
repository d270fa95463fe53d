"""Parse the events that name stored objects: from S3, EventBridge, or either in an SQS message."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from heatlens_aws.staging import Stored

Json = dict[str, Any]
CREATED = "ObjectCreated:"
REQUEUED = "again"  # message attribute: the sweeper or redrive sent this message in place of an earlier one
# Message attributes of a message that found no time and was sent again: milliseconds since 1970, and two counts.
HISTORY = FIRST_SENT, FAILED, WAITED = ("first_sent", "failed", "waited")
KINDS = (
    "S3 events and EventBridge events of S3, directly or as messages of an SQS queue, and there also notices of an "
    "asynchronous SageMaker endpoint by SNS"
)


class NotAnEvent(ValueError):
    """The event or message is of no known kind."""


class _Bucket(BaseModel):
    name: str = Field(min_length=1)


class _Object(BaseModel):
    """An object as S3 or EventBridge names it."""

    key: str = Field(min_length=1)
    version: str | None = Field(None, validation_alias=AliasChoices("versionId", "version-id"))
    etag: str | None = Field(None, validation_alias=AliasChoices("eTag", "etag"))
    size: int | None = Field(None, ge=0)


class _Entity(BaseModel):
    """What an event says of a created object."""

    bucket: _Bucket
    object: _Object


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
        return [created for record in event["Records"] for created in _from_s3(record)]
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


def _from_s3(record: Any) -> Iterator[Created]:  # noqa: ANN401 - an event holds whatever was sent
    """Read one record of any schema version; S3 encodes its keys as forms do."""
    problem = f"a record that is none of S3's, or without bucket or key; known are {KINDS}"
    if not isinstance(record, dict) or "s3" not in record:
        raise NotAnEvent(problem)
    if str(record.get("eventName", "")).removeprefix("s3:").startswith(CREATED):
        entity = _entity(record["s3"], problem)
        yield _created(entity, unquote_plus(entity.object.key))


def _from_eventbridge(event: Json) -> Iterator[Created]:
    """Read an EventBridge event, whose keys are not encoded.

    Powertools' class for it decodes the key as a form's, which names another object where a key has `+` or `%`.
    """
    if event.get("detail-type") == "Object Created":
        entity = _entity(event["detail"], "an EventBridge event without bucket or key")
        yield _created(entity, entity.object.key)


def _entity(given: Any, problem: str) -> _Entity:  # noqa: ANN401 - an event holds whatever was sent
    try:
        return _Entity.model_validate(given)
    except ValidationError as error:
        raise NotAnEvent(problem) from error


def _created(entity: _Entity, key: str) -> Created:
    thing = entity.object
    return Created(entity.bucket.name, _stored(key, thing.version, thing.etag), thing.size)


def _stored(key: str, version: str | None, etag: str | None) -> Stored:
    quoted = f'"{etag}"' if etag and not etag.startswith('"') else etag
    return Stored(key, version if version != "null" else None, quoted or None)

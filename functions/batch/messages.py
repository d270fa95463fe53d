"""Parse a Lambda event into messages and the distinct objects they name."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, Field, ValidationError

from functions.batch.logs import error_summary, logger
from heatlens_aws.events import (
    FAILED,
    FIRST_SENT,
    KINDS,
    REQUEUED,
    WAITED,
    Created,
    Json,
    NotAnEvent,
    created_objects,
    parse_body,
)
from heatlens_aws.sagemaker_async import Notice, read_notice


class _Attributes(BaseModel):
    receives: int = Field(1, alias="ApproximateReceiveCount", ge=1)
    sent_ms: int | None = Field(None, alias="SentTimestamp", ge=0)


class _SqsRecord(BaseModel):
    """What is read of a queue's record."""

    id: str = Field(alias="messageId", min_length=1)
    receipt: str = Field("", alias="receiptHandle")
    body: str = ""
    queue: str = Field("", alias="eventSourceARN")
    attributes: _Attributes = _Attributes()
    message_attributes: dict[str, object] | None = Field(None, alias="messageAttributes")


_DIGITS = 16  # more than a time in milliseconds has


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `objects` is `None` where it cannot be parsed, `receipt` where it comes from no queue.

    `queue` is the ARN of the queue that it comes from.
    `receives` counts the deliveries that failed, and this one: those of earlier messages too, in whose place this one
    was sent, without those that had no time. `waited` is how often there was none, `starved` whether it was sent again
    for that and not received since.
    """

    id: str
    receipt: str | None
    receives: int
    suspect: bool  # an earlier delivery may have killed a worker
    objects: tuple[Created, ...] | None
    notice: Notice | None = None  # an asynchronous endpoint has answered, or failed
    sent_ms: int | None = None  # when it was first sent, in milliseconds since 1970
    queue: str = ""
    waited: int = 0
    starved: bool = False
    body: str = field(default="", repr=False)
    attributes: Json = field(default_factory=dict, repr=False)  # as they are sent


@dataclass(frozen=True, slots=True)
class Item:
    """One object and the messages that name it; `receives` is the highest count of any of them."""

    created: Created
    messages: frozenset[str]
    receives: int
    suspect: bool
    starved: bool = False  # there was no time for it at its last delivery

    @property
    def identity(self) -> str:
        """A digest that names exactly these bytes, for a table's key."""
        stored = self.created.stored
        return hashlib.sha256(f"{self.created.bucket}\n{stored.key}\n{stored.identity}".encode()).hexdigest()


def parse_messages(event: Json) -> list[Message]:
    """Parse what a queue, S3 or EventBridge sent.

    Raises:
        NotAnEvent: The event is of no known kind.
    """
    if not isinstance(event, dict):
        raise NotAnEvent(f"an event that is no object; known are {KINDS}")
    records = event.get("Records")
    if isinstance(records, list) and any(map(_is_from_queue, records)):
        return [message for record in records if (message := _message(record))]
    return [Message(id="", receipt=None, receives=1, suspect=False, objects=tuple(created_objects(event)))]


def distinct_items(messages: Sequence[Message]) -> list[Item]:
    """List the objects of all messages once each, in order of arrival, suspects last.

    A redelivered message may have killed its worker. Suspects with the same count of deliveries are in an order that
    is reversed each time, so that an object behind the one that kills the process comes before it the next time.
    An object that there was no time for comes first at its next delivery, the most received of them before the others.
    """
    senders: dict[tuple[str, str, str], tuple[Created, list[Message]]] = {}
    for message in messages:
        for created in message.objects or ():
            name = (created.bucket, created.stored.key, created.stored.identity)
            senders.setdefault(name, (created, []))[1].append(message)
    return sorted((_item(created, naming) for created, naming in senders.values()), key=_order)


def _is_from_queue(record: object) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == "aws:sqs"


def _message(given: object) -> Message | None:
    """Parse one record; `None` where it has no id, by which it could be redelivered."""
    try:
        record = _SqsRecord.model_validate(given)
    except ValidationError as error:
        return _unreadable(given, error)
    attributes = record.message_attributes or {}
    receives = record.attributes.receives + _count(attributes, FAILED)
    waited = _count(attributes, WAITED)
    notice, objects = None, None
    try:
        event = parse_body(record.body)
        notice = read_notice(event)
        objects = () if notice else tuple(created_objects(event))
    except NotAnEvent as error:
        # It is redelivered, and ends in the dead-letter queue: an operator may know what it is.
        logger.warning("unreadable", message_id=record.id, error=error_summary(error))
    return Message(
        id=record.id,
        receipt=record.receipt,
        receives=receives,
        suspect=receives > 1 or REQUEUED in attributes,
        objects=objects,
        notice=notice,
        queue=record.queue,
        waited=waited,
        starved=waited > 0 and record.attributes.receives == 1,
        sent_ms=_count(attributes, FIRST_SENT) or record.attributes.sent_ms,
        body=record.body,
        attributes={name: sent for name, each in attributes.items() if (sent := _as_sent(each))},
    )


def _count(attributes: Json, name: str) -> int:
    """Read a number of the history; 0 where there is none, or where somebody else wrote another thing."""
    value = attributes.get(name)
    text = value.get("stringValue") if isinstance(value, dict) else None
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < _DIGITS else 0


def _as_sent(value: object) -> Json | None:
    """Write a received attribute as SQS accepts it; `None` for a binary one, which none of ours is."""
    given = value if isinstance(value, dict) else {}
    kind, text = given.get("dataType"), given.get("stringValue")
    return {"DataType": kind, "StringValue": text} if isinstance(kind, str) and isinstance(text, str) else None


def _unreadable(given: object, error: ValidationError) -> Message | None:
    """Make a message of a record with values of wrong types, which is redelivered and does not affect the others."""
    message_id = given.get("messageId") if isinstance(given, dict) else None
    known = message_id if isinstance(message_id, str) and message_id else None
    places = sorted({".".join(map(str, found["loc"])) for found in error.errors(include_input=False)})
    logger.warning("unreadable", message_id=known, error=f"wrong values of {', '.join(places)}")
    receipt = given.get("receiptHandle") if isinstance(given, dict) else None
    handle = receipt if isinstance(receipt, str) else ""
    return Message(id=known, receipt=handle, receives=1, suspect=False, objects=None) if known else None


def _item(created: Created, messages: Sequence[Message]) -> Item:
    return Item(
        created,
        frozenset(message.id for message in messages),
        max(message.receives for message in messages),
        any(message.suspect for message in messages),
        any(message.starved for message in messages),
    )


def _order(item: Item) -> tuple[int, int, int]:
    if item.starved:
        return (0, -item.receives, 0)
    if not item.suspect:
        return (1, 0, 0)
    direction = -1 if item.receives % 2 else 1
    return (2, item.receives, direction * int(item.identity, 16))

"""Lambda event -> messages and the objects they speak of, each once, those under suspicion last."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from functions.batch.lambda_types import Json, SqsRecord
from functions.batch.logs import line, trouble
from heatlens_aws.events import AGAIN, Created, NotAnEvent, objects, unwrap
from heatlens_aws.sagemaker_async import Notice, read_notice


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `objects` is `None` where nobody can read it, `receipt` where there is no queue behind it."""

    id: str
    receipt: str | None
    receives: int
    suspect: bool  # its earlier delivery may have killed a worker
    objects: tuple[Created, ...] | None
    notice: Notice | None = None  # an endpoint has answered, or failed


@dataclass(frozen=True, slots=True)
class Item:
    """One object, whichever messages speak of it; `receives` is the most that any of them had."""

    created: Created
    messages: frozenset[str]
    receives: int
    suspect: bool

    @property
    def identity(self) -> str:
        """What names these bytes, and no others, in a table's key."""
        stored = self.created.stored
        return hashlib.sha256(f"{self.created.bucket}\n{stored.key}\n{stored.identity}".encode()).hexdigest()


def messages(event: Json) -> list[Message]:
    """Take apart what a queue, S3 or EventBridge sent.

    Raises:
        NotAnEvent: None of them sent this.
    """
    records = event.get("Records")
    if isinstance(records, list) and records and records[0].get("eventSource") == "aws:sqs":
        return [_message(cast(SqsRecord, record)) for record in records]
    return [Message(id="", receipt=None, receives=1, suspect=False, objects=tuple(objects(event)))]


def items(received: Sequence[Message]) -> list[Item]:
    """The objects of all messages, each once, in the order of their arrival, those under suspicion last.

    A delivery that comes again may be one that killed its worker. Those at the same count of deliveries are in an
    order that turns round each time: whoever stood behind the killer stands before it the next time.
    """
    speaking: dict[tuple[str, str, str], tuple[Created, list[Message]]] = {}
    for message in received:
        for created in message.objects or ():
            name = (created.bucket, created.stored.key, created.stored.identity)
            speaking.setdefault(name, (created, []))[1].append(message)
    found = [_item(created, senders) for created, senders in speaking.values()]
    return sorted(found, key=_suspicion)


def _message(record: SqsRecord) -> Message:
    receives = int(record["attributes"]["ApproximateReceiveCount"])
    notice, spoken_of = None, None
    try:
        event = unwrap(record["body"])
        notice = read_notice(event)
        spoken_of = () if notice else tuple(objects(event))
    except NotAnEvent as error:
        # It goes back, and to the dead letters in the end: a person may know what it is.
        line("unreadable", message=record["messageId"], trouble=trouble(error))
    return Message(
        id=record["messageId"],
        receipt=record["receiptHandle"],
        receives=receives,
        suspect=receives > 1 or AGAIN in record.get("messageAttributes", {}),
        objects=spoken_of,
        notice=notice,
    )


def _item(created: Created, senders: Sequence[Message]) -> Item:
    return Item(
        created,
        frozenset(message.id for message in senders),
        max(message.receives for message in senders),
        any(message.suspect for message in senders),
    )


def _suspicion(item: Item) -> tuple[bool, int, int]:
    if not item.suspect:
        return (False, 0, 0)
    turn = -1 if item.receives % 2 else 1
    return (True, item.receives, turn * int(item.identity, 16))

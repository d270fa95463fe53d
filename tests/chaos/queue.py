"""A queue on a simulated clock: late, duplicate, unordered, redelivered and dead messages."""

import json
import random
from collections import Counter
from dataclasses import dataclass
from itertools import count
from urllib.parse import unquote_plus

from tests.chaos.clock import Clock
from tests.chaos.hooks import Call, Hook, Json
from tests.chaos.story import Event, Story

VISIBILITY_S = 720.0
MAX_RECEIVES = 5
URL = "https://queue/interactive"
DOUBLE = 0.05  # deliveries of a message that another worker holds


@dataclass(slots=True)
class Letter:
    """One message; `visible` is when it can be received, in seconds since 1970.

    `troubled` says that a fault hit the worker that received it last, or that the worker still holds it.
    """

    id: str
    body: str
    visible: float
    attributes: Json
    event: Event | None  # of an upload
    sent: float = 0.0  # seconds since 1970
    receives: int = 0
    troubled: bool = False

    @property
    def last(self) -> bool:
        """Whether this is the last delivery."""
        return self.receives == MAX_RECEIVES

    @property
    def record(self) -> Json:
        """The record as Lambda's poller delivers it."""
        return {
            "messageId": self.id,
            "receiptHandle": self.id,
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": str(self.receives),
                "SentTimestamp": str(round(self.sent * 1000)),
            },
            "messageAttributes": self.attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:interactive",
        }


class Queue(Hook):
    """Answers the product's calls to SQS about one queue, and hands letters to workers.

    `doubled` is the share of deliveries of a message that another worker receives too.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        counts: Counter[str],
        story: Story,
        *,
        url: str = URL,
        doubled: float = DOUBLE,
    ) -> None:
        self._clock, self._rng, self._counts, self._story = clock, rng, counts, story
        self._url, self._doubled = url, doubled
        self._names = count()
        self._letters: dict[str, Letter] = {}

    def __len__(self) -> int:
        return len(self._letters)

    def send(
        self, body: str, *, delay_s: float = 0.0, attributes: Json | None = None, event: Event | None = None
    ) -> str:
        """Accept a message; it can be received after the delay."""
        now, name = self._clock.now, f"m{next(self._names)}"
        letter = Letter(name, body, now + delay_s, attributes or {}, event, sent=now)
        self._letters[letter.id] = letter
        return letter.id

    def receive(self, most: int) -> list[Letter]:
        """Receive some visible messages in any order; some stay visible to another worker."""
        visible = [letter for letter in self._letters.values() if letter.visible <= self._clock.now]
        self._rng.shuffle(visible)
        return [letter for letter in visible[:most] if self._hand_out(letter)]

    def delete(self, letter: Letter) -> None:
        """Delete a message that is done."""
        self._letters.pop(letter.id, None)
        if letter.event:
            letter.event.handled = True

    def before(self, call: Call) -> Json | None:
        if call.service != "sqs" or call.params["QueueUrl"] != self._url:
            return None
        if call.name == "SendMessage":
            self._counts["events sent again"] += 1
            body, attributes = call.params["MessageBody"], _stringly(call.params["MessageAttributes"])
            sent = self.send(body, attributes=attributes, event=_event(body))
            return {"MessageId": sent}
        if call.name == "ChangeMessageVisibility":
            if letter := self._letters.get(call.params["ReceiptHandle"]):
                letter.visible = self._clock.now + call.params["VisibilityTimeout"]
            return {}
        assert call.name == "GetQueueAttributes", call.name
        waiting = sum(letter.visible <= self._clock.now for letter in self._letters.values())
        return {"Attributes": {"ApproximateNumberOfMessages": str(waiting)}}

    def _hand_out(self, letter: Letter) -> bool:
        if letter.last:
            del self._letters[letter.id]
            self._counts["dead letters"] += 1
            if not letter.troubled:
                self._story.dead.append(letter.id)
            return False
        letter.receives += 1
        letter.troubled = True
        if self._rng.random() < self._doubled:
            self._counts["event: delivered to two"] += 1
        else:
            letter.visible = self._clock.now + VISIBILITY_S
        return True


def _stringly(attributes: Json) -> Json:
    """Spell attributes as Lambda delivers them."""
    return {
        name: {"stringValue": each["StringValue"], "dataType": each["DataType"]} for name, each in attributes.items()
    }


def _event(body: str) -> Event:
    """Return the event that the sweeper re-sends."""
    thing = json.loads(body)["Records"][0]["s3"]["object"]
    return Event(unquote_plus(thing["key"]), thing.get("versionId") or thing["eTag"])

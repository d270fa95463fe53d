"""A queue on a simulated clock: late, duplicate, unordered, redelivered and dead messages."""

import json
import random
from collections import Counter
from dataclasses import dataclass
from itertools import count
from urllib.parse import unquote_plus

from heatlens_aws.events import FAILED, WAITED
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
    def attempts(self) -> int:
        """Deliveries that failed, and this one: also those of the messages in whose place it was sent."""
        return self.receives + int(self.attributes.get(FAILED, {}).get("stringValue", 0))

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
        if letter.event and not any(other.event is letter.event for other in self._letters.values()):
            letter.event.handled = True

    def before(self, call: Call) -> Json | None:
        if call.service != "sqs" or call.params["QueueUrl"] != self._url:
            return None
        if call.name == "SendMessage":
            body, attributes = call.params["MessageBody"], _stringly(call.params.get("MessageAttributes", {}))
            self._counts["messages sent back" if WAITED in attributes else "events sent again"] += 1
            return {"MessageId": self.send(body, attributes=attributes, event=self._event(body))}
        if call.name == "DeleteMessage":
            if letter := self._letters.get(call.params["ReceiptHandle"]):
                self.delete(letter)
            return {}
        if call.name == "ChangeMessageVisibility":
            if letter := self._letters.get(call.params["ReceiptHandle"]):
                letter.visible = self._clock.now + call.params["VisibilityTimeout"]
            return {}
        assert call.name == "GetQueueAttributes", call.name
        visible = sum(letter.visible <= self._clock.now for letter in self._letters.values())
        counts = {"": visible, "Delayed": 0, "NotVisible": len(self._letters) - visible}
        return {"Attributes": {f"ApproximateNumberOfMessages{kind}": str(count) for kind, count in counts.items()}}

    def _event(self, body: str) -> Event | None:
        """Return the event that a worker sends back, or the one that the sweeper re-sends; none of a notice."""
        for letter in self._letters.values():
            if letter.body == body:
                return letter.event
        event = json.loads(body)
        if "Records" not in event:
            return None
        thing = event["Records"][0]["s3"]["object"]
        return Event(unquote_plus(thing["key"]), thing.get("versionId") or thing["eTag"])

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

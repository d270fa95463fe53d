"""Poll a queue for the worker's handler as Lambda does, one invocation at a time."""

import time
from collections.abc import Callable
from typing import Any

from heatlens_aws.events import Json
from heatlens_aws.object_keys import Lane
from infra.local_account import sqs_event
from tests.support.aws import Account
from tests.support.staged import Context

PATIENCE_S = 20


class Poller:
    """Passes messages to the handler and deletes those that it did not return."""

    def __init__(self, aws: Account, handle: Callable[[Json, Any], Any], lane: Lane = Lane.INTERACTIVE) -> None:
        self._handle = handle
        self._sqs, self._queue = aws.clients.sqs, aws.settings.queue_url(lane)

    def receive(self, *, wait_s: int = 1, queue: str = "", **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Receive up to ten messages of the queue, or of another."""
        answer = self._sqs.receive_message(
            QueueUrl=queue or self._queue,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_s,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            **more,
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    def turn(self) -> list[dict[str, Any]]:
        """Run one invocation if there are messages; return those to be redelivered."""
        messages = self.receive()
        if not messages:
            return []
        event = sqs_event(messages, self._queue.rpartition("/")[2])
        for record, message in zip(event["Records"], messages, strict=True):
            sent = message.get("MessageAttributes", {})
            record["messageAttributes"] = {name: {"stringValue": each["StringValue"]} for name, each in sent.items()}
        answer = self._handle(event, Context())
        assert answer is not None
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message in messages:
            if message["MessageId"] not in again:
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return [message for message in messages if message["MessageId"] in again]

    def until(self, done: Callable[[], object]) -> None:
        """Run invocations until a condition holds."""
        give_up = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < give_up, "the condition never held"
            self.turn()

    def held(self) -> int:
        """Count the messages in the queue, hidden ones too."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=names)
        return sum(int(count) for count in answer["Attributes"].values())

"""What Lambda hands over, as far as it is read: event and context -> types."""

from typing import Any, NotRequired, Protocol, TypedDict

Json = dict[str, Any]


class LambdaContext(Protocol):
    """The running invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is killed."""
        ...


class SqsAttributes(TypedDict):
    """Numbers come as strings."""

    ApproximateReceiveCount: str


class SqsRecord(TypedDict):
    """One message of a queue."""

    messageId: str
    receiptHandle: str
    body: str
    attributes: SqsAttributes
    messageAttributes: NotRequired[Json]


class ItemFailure(TypedDict):
    """A message that is to come again."""

    itemIdentifier: str


class SqsAnswer(TypedDict):
    """What an event source with ReportBatchItemFailures reads."""

    batchItemFailures: list[ItemFailure]

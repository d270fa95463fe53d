"""A Lambda event -> its work, done, and what Lambda is told of it."""

from collections.abc import Callable

from functions.batch.context import WorkerContext
from functions.batch.errors import TryAgain
from functions.batch.lambda_types import Json, SqsAnswer
from functions.batch.messages import messages
from functions.batch.worker import work


def answer(door: WorkerContext, event: Json, time_left: Callable[[], float]) -> SqsAnswer | None:
    """Explain what an event speaks of.

    Args:
        door: The tools.
        event: Of a queue, of S3 or of EventBridge.
        time_left: Seconds until the invocation is killed.

    Returns:
        To a queue, which messages are to come again.

    Raises:
        TryAgain: Objects of an event without a queue are not done.
        NotAnEvent: Nobody known sent this event.
    """
    received = messages(event)
    again = work(door, received, time_left)
    if any(message.receipt for message in received):
        return {"batchItemFailures": [{"itemIdentifier": each} for each in sorted(again)]}
    if again:
        raise TryAgain("objects of this event are not done")
    return None

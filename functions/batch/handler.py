"""SQS, S3 or EventBridge event -> explained objects; the model is loaded at import, in Lambda's init phase."""

import logging

from functions.batch.door import Door, open_door
from functions.batch.errors import Shut, TryAgain
from functions.batch.payloads import Json, LambdaContext, SqsAnswer
from functions.batch.upload import messages
from functions.batch.worker import work
from heatlens.errors import ModelError

logger = logging.getLogger(__name__)


def handler(event: Json, context: LambdaContext) -> SqsAnswer | None:
    """Explain what the event speaks of.

    Returns:
        To a queue, which messages are to come again.

    Raises:
        Shut: This function cannot work; everything comes again.
        TryAgain: Objects of an event without a queue are not done.
        NotAnEvent: Nobody known sent this event.
    """
    if isinstance(door, ModelError):
        raise Shut("the door is shut: see the log of the function's start") from door
    received = messages(event)
    again = work(door, received, lambda: context.get_remaining_time_in_millis() / 1000)
    if any(message.receipt for message in received):
        return {"batchItemFailures": [{"itemIdentifier": each} for each in sorted(again)]}
    if again:
        raise TryAgain("objects of this event are not done")
    return None


def _open() -> Door | ModelError:
    # Raised at every invocation instead of here: an import that fails is tried twice and reported without its reason.
    try:
        return open_door()
    except ModelError as error:
        logger.error("the door stays shut: %s (cause: %r)", error, error.__cause__)
        return error


door = _open()

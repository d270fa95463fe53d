"""Lambda entry of the batch function: explain the objects that an event names.

The model is loaded at import, in Lambda's init phase; if that fails, the process ends.
"""

from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.batch.context import open_context
from functions.batch.errors import TryAgain
from functions.batch.logs import logger, metrics_of
from functions.batch.messages import parse_messages
from functions.batch.worker import work
from heatlens_aws.events import Json
from heatlens_aws.lambda_init import start
from heatlens_aws.warmup import is_ping

if TYPE_CHECKING:  # it imports a model of every kind of event
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse

worker_context = start(open_context)
metrics_of("batch")  # the end of its cold start


@logger.inject_lambda_context(log_event=False)  # an event holds object keys
def handler(event: Json, context: LambdaContext) -> "PartialItemFailureResponse | None":
    """Explain the objects that an event of SQS, S3 or EventBridge names.

    Returns:
        To a queue: which messages are to be redelivered.

    Raises:
        TryAgain: Objects of an event that comes from no queue are not done.
        NotAnEvent: The event is of no known kind.
    """
    if is_ping(event):
        return None
    messages = parse_messages(event)
    unfinished = work(worker_context, messages, lambda: context.get_remaining_time_in_millis() / 1000)
    if any(message.receipt is not None for message in messages):
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in sorted(unfinished)]}
    if unfinished:
        raise TryAgain("objects of this event are not done")
    return None

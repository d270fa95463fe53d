"""Return messages to their queue: delayed after an error, or as new messages where the file has not failed.

SQS counts each receive, also of a message that no worker had time for, or whose object AWS denies access to. A message
that is sent again starts at zero, and carries its history in its attributes: when it was first sent, its failed
deliveries, and how often it found no time.
"""

import time
from collections.abc import Iterable

from functions.batch.context import Account
from functions.batch.logs import error_summary, logger
from functions.batch.messages import Message
from heatlens_aws.events import FAILED, FIRST_SENT, WAITED
from heatlens_aws.settings import DAY

FIRST_DELAY_S, LONGEST_DELAY_S = 10, 900
LONGEST_WAIT_S = 4 * DAY  # as long as the queue keeps a message; what waits longer is redelivered, which counts


def delay(account: Account, messages: Iterable[Message]) -> None:
    """Delay the redelivery of messages, longer each time; if that fails, the queue's own delay holds."""
    for message in messages:
        queue = account.settings.queue_named(message.queue)
        if queue and message.receipt:
            wait = min(FIRST_DELAY_S * 2 ** (message.receives - 1), LONGEST_DELAY_S)
            try:
                account.sqs.change_message_visibility(
                    QueueUrl=queue, ReceiptHandle=message.receipt, VisibilityTimeout=wait
                )
            except Exception as error:
                logger.warning("undelayed", error=error_summary(error))


def delete(account: Account, messages: Iterable[Message]) -> None:
    """Delete messages at once; one that cannot be deleted is a harmless duplicate of the one that was sent."""
    for message in messages:
        try:
            queue = account.settings.queue_named(message.queue)
            account.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message.receipt)
        except Exception as error:
            logger.warning("undeleted", error=error_summary(error))


def send_back(account: Account, messages: Iterable[Message]) -> set[str]:
    """Send messages as new ones, with their history; the caller then acknowledges the received ones.

    A process that dies in between leaves both, which is harmless: an object is committed once.

    Returns:
        Ids of the messages that could not be sent, or have waited too long: they are to be redelivered.
    """
    return {message.id for message in messages if not _is_sent(account, message, waited=message.waited + 1)}


def put_off(account: Account, messages: Iterable[Message]) -> set[str]:
    """Send messages as new ones that are delivered later, the longer the older they are; otherwise as `send_back`."""
    return {message.id for message in messages if not _is_sent(account, message, waited=message.waited, later=True)}


def _is_sent(account: Account, message: Message, *, waited: int, later: bool = False) -> bool:
    queue, now_ms = account.settings.queue_named(message.queue), round(time.time() * 1000)
    first_ms = message.sent_ms or now_ms
    if not queue or not message.receipt or now_ms - first_ms > 1000 * LONGEST_WAIT_S:
        return False
    history = {FIRST_SENT: first_ms, FAILED: message.receives - 1, WAITED: waited}
    attributes = {name: {"DataType": "Number", "StringValue": str(value)} for name, value in history.items()}
    wait = min(max((now_ms - first_ms) // 1000, FIRST_DELAY_S), LONGEST_DELAY_S) if later else 0
    try:
        account.sqs.send_message(
            QueueUrl=queue,
            MessageBody=message.body,
            MessageAttributes=message.attributes | attributes,
            DelaySeconds=wait,
        )
    except Exception as error:
        logger.warning("unsent", error=error_summary(error))
        return False
    return True

"""Move dead-letter messages of open batches back to their lane's queue, marked to be processed one at a time."""

import time
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from heatlens.errors import HeatlensError
from heatlens.settings import read_table
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.clients import Clients, connect
from heatlens_aws.deadline import note_progress
from heatlens_aws.events import HISTORY, REQUEUED, NotAnEvent, created_objects, parse_body
from heatlens_aws.object_keys import DROP, Lane, parse_upload_key
from heatlens_aws.records import Batch
from heatlens_aws.sagemaker_async import read_notice
from heatlens_aws.settings import AwsSettings
from heatlens_cli.console import say

WAIT_S = 1
PAGE = 10  # messages of one call
HOLD_S = 300  # messages that were read stay invisible while the command runs
LONGEST_HOLD_S = 12 * 60 * 60  # SQS allows no more
SUSPECT = {
    REQUEUED: {"DataType": "String", "StringValue": "1"}
}  # it may have killed its worker, so it is processed alone

Message = dict[str, Any]


class CannotRedrive(HeatlensError):
    """The queues, the bucket or the table are not configured or do not respond."""


def redrive_open(dead_letters: Sequence[str]) -> int:
    """Move every dead-letter message of an open batch's file, or of a dropped object, back to its lane's queue.

    A finished batch never changes: its messages stay, and a new batch can retry its failures.

    Args:
        dead_letters: URLs of the dead-letter queues.

    Returns:
        The exit status, 0.

    Raises:
        CannotRedrive: A lane's queue or the staging settings are missing, or AWS refuses.
    """
    settings = read_table(AwsSettings)
    if not (settings.ready and all(map(settings.queue_url, Lane))):
        raise CannotRedrive(
            "HEATLENS_BUCKET, HEATLENS_TABLE, HEATLENS_INTERACTIVE_QUEUE_URL and HEATLENS_BULK_QUEUE_URL are required"
        )
    clients = connect(settings)
    try:
        counts = [redrive(clients, settings, url) for url in dead_letters]
    except (BotoCoreError, ClientError) as error:
        raise CannotRedrive(f"the queues do not answer: {type(error).__name__}") from error
    sent, left = (sum(column) for column in zip(*counts, strict=True))
    say(f"{sent} moved back, {left} left: their batches have ended, or they name no known file")
    return 0


def redrive(clients: Clients, settings: AwsSettings, dead_letters: str) -> tuple[int, int]:
    """Move the messages of one dead-letter queue and return how many were moved and how many are left."""
    jobs, sent = BatchTable(clients.dynamodb, settings.table), 0
    left: dict[str, int] = {}  # seconds for which it is held, by message
    while messages := _next(clients, dead_letters):
        for message in messages:
            name, receipt = message["MessageId"], message["ReceiptHandle"]
            if name in left:
                # It became visible again before all messages were read. Doubling the time ends the loop.
                left[name] = min(2 * left[name], LONGEST_HOLD_S)
                clients.sqs.change_message_visibility(
                    QueueUrl=dead_letters, ReceiptHandle=receipt, VisibilityTimeout=left[name]
                )
            elif wanted := _wanted(jobs, message["Body"]):
                lane, batch = wanted
                if batch:  # it does not expire while this message waits
                    note_progress(jobs, settings, batch, int(time.time()))
                # Sent first: a crash in between duplicates a message, which is harmless, but never loses one.
                _send(clients, settings.queue_url(lane), message)
                clients.sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=receipt)
                sent += 1
            else:
                left[name] = HOLD_S
    return sent, len(left)


def _next(clients: Clients, queue: str) -> list[Message]:
    answer = clients.sqs.receive_message(
        QueueUrl=queue,
        MaxNumberOfMessages=PAGE,
        MessageAttributeNames=["All"],
        WaitTimeSeconds=WAIT_S,
        VisibilityTimeout=HOLD_S,
    )
    messages: list[Message] = answer.get("Messages", [])
    return messages


def _send(clients: Clients, queue: str, message: Message) -> None:
    # Without the history of earlier messages, whose failures would count against the new tries.
    kept = {name: value for name, value in message.get("MessageAttributes", {}).items() if name not in HISTORY}
    attributes = kept | SUSPECT
    clients.sqs.send_message(QueueUrl=queue, MessageBody=message["Body"], MessageAttributes=attributes)


def _wanted(jobs: BatchTable, body: str) -> tuple[Lane, Batch | None] | None:
    """Return the lane of a message about a dropped object, or lane and batch of one about a file of an open batch."""
    try:
        event = parse_body(body)
        if notice := read_notice(event):
            batch = _open_batch(jobs, notice.attempt.batch) if notice.attempt else None
            return (batch.lane, batch) if batch else None
        keys = [created.stored.key for created in created_objects(event)]
    except (NotAnEvent, RecursionError):
        return None
    if any(key.startswith(DROP) for key in keys):
        return Lane.BULK, None
    for upload in filter(None, map(parse_upload_key, keys)):
        batch = _open_batch(jobs, upload.batch)
        if batch and batch.lane is upload.lane:
            return batch.lane, batch
    return None


def _open_batch(jobs: BatchTable, name: str) -> Batch | None:
    batch = jobs.batch(name)
    return batch if batch and not batch.state.terminal else None

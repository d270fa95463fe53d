"""Dead letters of batches that are still open -> back to their queue, one by one."""

from botocore.exceptions import BotoCoreError, ClientError

from functions.cli.files import out
from heatlens.errors import HeatlensError
from heatlens.settings import read_table
from heatlens_aws.clients import Clients, connect
from heatlens_aws.events import NotAnEvent, message_objects
from heatlens_aws.jobs import Jobs
from heatlens_aws.keys import parse_upload_key
from heatlens_aws.settings import AwsSettings

WAIT_S = 1
PAGE = 10  # messages of one call
HOLD_S = 300  # while this runs, nobody else sees what was looked at


class CannotRedrive(HeatlensError):
    """The queues, the bucket or the table are not set up or do not answer."""


def redrive_open(dead_letters: str) -> int:
    """Send every dead letter that speaks of a file of an open batch, or of a drop, back to the queue.

    A finished batch never changes: its letters stay, and its failures are repeated as a new batch.

    Args:
        dead_letters: Address of the dead-letter queue.

    Returns:
        The exit status, 0.

    Raises:
        CannotRedrive: `HEATLENS_QUEUE_URL` or the staging settings are missing, or AWS refuses.
    """
    settings = read_table(AwsSettings)
    if not (settings.ready and settings.queue_url):
        raise CannotRedrive("HEATLENS_BUCKET, HEATLENS_TABLE and HEATLENS_QUEUE_URL are required")
    try:
        sent, left = redrive(connect(settings), settings, dead_letters)
    except (BotoCoreError, ClientError) as error:
        raise CannotRedrive(f"the queues do not answer: {type(error).__name__}") from error
    out.print(f"{sent} sent back, {left} left: their batches have ended, or they speak of nothing known")
    return 0


def redrive(clients: Clients, settings: AwsSettings, dead_letters: str) -> tuple[int, int]:
    """Count the letters sent back and those left."""
    jobs, sent, left = Jobs(clients.dynamodb, settings.table), 0, 0
    while messages := _next(clients, dead_letters):
        for message in messages:
            if not _is_wanted(jobs, message["Body"]):
                left += 1
                continue
            # Sent first: dying in between doubles a message, which is harmless, and never loses one.
            clients.sqs.send_message(QueueUrl=settings.queue_url, MessageBody=message["Body"])
            clients.sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
            sent += 1
    return sent, left


def _next(clients: Clients, queue: str) -> list[dict[str, str]]:
    answer = clients.sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=PAGE, WaitTimeSeconds=WAIT_S, VisibilityTimeout=HOLD_S
    )
    messages: list[dict[str, str]] = answer.get("Messages", [])
    return messages


def _is_wanted(jobs: Jobs, body: str) -> bool:
    try:
        keys = [created.stored.key for created in message_objects(body)]
    except NotAnEvent:
        return False
    named = [parse_upload_key(key) for key in keys]
    batches = [jobs.batch(each[0]) for each in named if each]
    return any(batch and not batch.state.terminal for batch in batches) or any(key.startswith("drop/") for key in keys)

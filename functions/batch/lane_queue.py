"""Read how many messages a lane's queue holds."""

from dataclasses import dataclass

from functions.batch.context import Account
from heatlens_aws.object_keys import Lane

_COUNTS = tuple(f"ApproximateNumberOfMessages{kind}" for kind in ("", "Delayed", "NotVisible"))


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages that wait, and messages that a worker has or that were returned with a delay."""

    waiting: int
    in_flight: int


def read_backlog(account: Account, lane: Lane) -> Backlog:
    """Count the messages in a lane's queue; SQS counts approximately."""
    answer = account.sqs.get_queue_attributes(QueueUrl=account.settings.queue_url(lane), AttributeNames=list(_COUNTS))
    visible, delayed, in_flight = (int(answer["Attributes"][name]) for name in _COUNTS)
    return Backlog(visible + delayed, in_flight)

"""Dead letters of open batches go back to their queue; others stay."""

import json

from functions.cli.redrive import redrive
from heatlens_aws.jobs import Declared
from heatlens_aws.rows import Batch, BatchState
from tests.aws import Account

OPEN, ENDED = "01J00000000000000000000000", "01J00000000000000000000001"


def letter(key: str) -> str:
    return json.dumps(
        {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}]}
    )


def make(aws: Account, name: str) -> Batch:
    batch = Batch(
        id=name, owner="me", state=BatchState.OPEN, expected=1, declared=0, options={}, model="m", created=1,
        deadline=2, expires_at=3,
    )  # fmt: skip
    aws.jobs.create(batch)
    aws.jobs.declare(batch, [Declared("a", 1, "0" * 64, "image/png")])
    return batch


def bodies(aws: Account, queue: str) -> list[str]:
    answer = aws.clients.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return sorted(message["Body"] for message in answer.get("Messages", []))


def test_only_what_can_still_end_goes_back(aws: Account) -> None:
    dead = aws.clients.sqs.create_queue(QueueName="dead")["QueueUrl"]
    make(aws, OPEN)
    make(aws, ENDED)
    aws.jobs.close(ENDED)
    ended = aws.jobs.batch(ENDED)
    assert ended is not None
    aws.jobs.finish(ended, BatchState.FAILED)
    wanted = [letter(f"in/{OPEN}/00000"), letter("drop/scan.png")]
    for body in [*wanted, letter(f"in/{ENDED}/00000"), letter("in/nobody"), "not an event"]:
        aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=body)

    counts = redrive(aws.clients, aws.settings, dead)

    assert counts == (2, 3)
    assert bodies(aws, aws.settings.queue_url) == sorted(wanted)
    hidden = aws.clients.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"]
    assert int(hidden["ApproximateNumberOfMessagesNotVisible"]) == 3

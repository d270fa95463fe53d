"""Dead-letter messages of open batches are moved back to their queue; others stay."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heatlens.model import Model
from heatlens_aws.batch_table import Declared
from heatlens_aws.clients import Clients
from heatlens_aws.events import REQUEUED
from heatlens_aws.object_keys import Lane
from heatlens_aws.records import Batch, BatchState
from heatlens_cli import redrive as redrives
from heatlens_cli.redrive import redrive
from tests.functional.batch.test_sagemaker_path import REMOTE
from tests.support.aws import Account
from tests.support.sagemaker import enveloped, with_endpoint
from tests.support.staged import desk, picture

OPEN, ENDED, LARGE = (f"01J0000000000000000000000{number}" for number in range(3))


def letter(key: str) -> str:
    return json.dumps(
        {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}]}
    )


def make(aws: Account, name: str, lane: Lane = Lane.INTERACTIVE) -> Batch:
    batch = Batch(
        id=name, owner="me", state=BatchState.OPEN, lane=lane, expected=1, declared=0, options={}, model="m",
        created=1, deadline=2, expires_at=3,
    )  # fmt: skip
    aws.jobs.create(batch)
    aws.jobs.declare(batch, [Declared("a", 1, "0" * 64, "image/png")])
    return batch


def bodies(aws: Account, queue: str) -> list[str]:
    answer = aws.clients.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return sorted(message["Body"] for message in answer.get("Messages", []))


def test_only_messages_of_open_batches_and_drops_are_moved(aws: Account) -> None:
    dead = aws.clients.sqs.create_queue(QueueName="dead")["QueueUrl"]
    make(aws, OPEN)
    make(aws, LARGE, Lane.BULK)
    make(aws, ENDED)
    aws.jobs.close(ENDED)
    ended = aws.jobs.batch(ENDED)
    assert ended is not None
    aws.jobs.finish(ended, BatchState.FAILED, Counter())
    small, bulk = [letter(f"in/i/{OPEN}/00000")], [letter("drop/scan.png"), letter(f"in/b/{LARGE}/00000")]
    others = [f"in/i/{ENDED}/00000", "in/nobody", f"in/i/{LARGE}/00000"]
    for body in [*small, *bulk, *map(letter, others), "not an event"]:
        aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=body)

    counts = redrive(aws.clients, aws.settings, dead)

    assert counts == (3, 4)
    assert bodies(aws, aws.settings.interactive_queue_url) == small
    assert bodies(aws, aws.settings.bulk_queue_url) == sorted(bulk)
    hidden = aws.clients.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"]
    assert int(hidden["ApproximateNumberOfMessagesNotVisible"]) == 4


def test_a_moved_message_is_marked_and_keeps_its_attributes_but_no_history_of_failures(aws: Account) -> None:
    dead = aws.clients.sqs.create_queue(QueueName="dead")["QueueUrl"]
    carried = {"trace": {"DataType": "String", "StringValue": "t"}}
    carried |= {name: {"DataType": "Number", "StringValue": "5"} for name in ("first_sent", "failed", "waited")}
    aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=letter("drop/scan.png"), MessageAttributes=carried)

    redrive(aws.clients, aws.settings, dead)

    answer = aws.clients.sqs.receive_message(QueueUrl=aws.settings.bulk_queue_url, MessageAttributeNames=["All"])
    assert answer["Messages"][0]["MessageAttributes"].keys() == {REQUEUED, "trace"}


def test_a_sagemaker_notification_is_moved_while_its_batch_is_open(
    aws: Account, tiny_model: Model, tiny_folder: Path
) -> None:
    dead = aws.clients.sqs.create_queue(QueueName="dead")["QueueUrl"]
    staged = desk(aws, tiny_model)
    runtime = with_endpoint(staged, tiny_folder)
    batch = staged.batch(picture(), options=REMOTE)
    staged.work(staged.received(staged.put(picture())))
    notice = json.dumps(enveloped(runtime.notices[0]))
    aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=notice)

    assert redrive(aws.clients, aws.settings, dead) == (1, 0)
    assert notice in bodies(aws, aws.settings.interactive_queue_url)

    aws.jobs.close(batch.id)
    aws.jobs.finish(staged.read(), BatchState.FAILED, Counter())
    aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=notice)
    assert redrive(aws.clients, aws.settings, dead) == (0, 1)


def test_an_unreadable_message_stays(aws: Account) -> None:
    dead = aws.clients.sqs.create_queue(QueueName="dead")["QueueUrl"]
    for body in ("[" * 100_000, json.dumps({"eventSource": "aws:sagemaker", "inferenceId": "another's"})):
        aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=body)

    assert redrive(aws.clients, aws.settings, dead) == (0, 2)


def test_ends_even_if_messages_become_visible_again_meanwhile(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = aws.clients.sqs.create_queue(QueueName="dead")["QueueUrl"]
    for number in range(25):
        aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=f"nonsense {number}")
    monkeypatch.setattr(redrives, "HOLD_S", 1)  # as 300 seconds are to many thousands
    monkeypatch.setattr(redrives, "WAIT_S", 0)
    look, receive, pages = redrives._wanted, redrives._next, list[str]()

    def slowly(*arguments: Any) -> Any:  # noqa: ANN401 - passes through
        time.sleep(0.11)
        return look(*arguments)

    def counted(clients: Clients, queue: str) -> list[redrives.Message]:
        pages.append(queue)
        return receive(clients, queue)

    monkeypatch.setattr(redrives, "_wanted", slowly)
    monkeypatch.setattr(redrives, "_next", counted)

    assert redrive(aws.clients, aws.settings, dead) == (0, 25)
    assert 3 < len(pages) < 20


def test_a_message_that_cannot_be_sent_stays(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = aws.clients.sqs.create_queue(QueueName="dead")["QueueUrl"]
    aws.clients.sqs.send_message(QueueUrl=dead, MessageBody=letter("drop/scan.png"))

    def refused(**_: Any) -> None:  # noqa: ANN401 - whatever is sent
        raise ConnectionError

    monkeypatch.setattr(aws.clients.sqs, "send_message", refused)
    with pytest.raises(ConnectionError):
        redrive(aws.clients, aws.settings, dead)

    hidden = aws.clients.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"]
    assert int(hidden["ApproximateNumberOfMessagesNotVisible"]) == 1

"""The sweeper ends batches that no other call does; every step may be interrupted and repeated."""

import json
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from botocore.exceptions import ClientError

from functions.batch import context
from functions.batch import sweep as sweeps
from functions.batch.sweep import GRACE_S, IN_FLIGHT_S, RESEND_MOST, sweep
from heatlens.model import Model
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.object_keys import Lane, manifest_key
from heatlens_aws.records import BatchState, FileState, attributes, batch_key
from heatlens_aws.settings import PROGRESS_S
from heatlens_aws.staging import Staging
from tests.chaos.hooks import Wires
from tests.support.aws import ID, Account
from tests.support.denials import Denies
from tests.support.sagemaker import enveloped, with_endpoint
from tests.support.staged import Context, Json, Staged, desk, imported, picture

OTHER = "01J11111111111111111111111"
DEADLINE = 4_000_000_000
NOW = int(time.time())


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


def swept(staged: Staged, *, after: float = 0, now: int = 0) -> dict[str, int]:
    return sweep(staged.context.account, now or int(time.time() + after), lambda: 100)


def queued(staged: Staged, lane: Lane = Lane.INTERACTIVE) -> list[Json]:
    """Take all messages off a queue, as records of the function's event."""
    sqs, queue = staged.aws.clients.sqs, staged.aws.settings.queue_url(lane)
    records = []
    names = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"], "MaxNumberOfMessages": 10}
    while sent := sqs.receive_message(QueueUrl=queue, **names).get("Messages"):
        for each in sent:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
            records.append(
                {
                    "messageId": each["MessageId"],
                    "receiptHandle": each["ReceiptHandle"],
                    "body": each["Body"],
                    "attributes": each["Attributes"],
                    "messageAttributes": each.get("MessageAttributes", {}),
                    "eventSource": "aws:sqs",
                }
            )
    return records


def states(staged: Staged) -> list[str]:
    return [file.state.value for file in staged.aws.jobs.files(staged.read())]


def test_files_never_uploaded_to_a_closed_batch_are_missing(staged: Staged) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    staged.work(staged.received(staged.put(files[1], 1)))
    staged.aws.jobs.close(ID)

    assert swept(staged) == {"swept": 1, "failed": 0}

    assert states(staged) == ["MISSING", "OK"]
    assert staged.read().state is BatchState.PARTIAL
    assert staged.keys(manifest_key(ID))
    assert swept(staged) == {"swept": 0, "failed": 0}


def test_an_open_batch_before_its_deadline_is_left_alone(staged: Staged) -> None:
    staged.batch(picture())
    before = staged.read()

    assert swept(staged) == {"swept": 1, "failed": 0}

    assert (staged.read(), states(staged)) == (before, ["PENDING"])


@pytest.mark.contract("after the deadline")
@pytest.mark.parametrize("now", [DEADLINE - 1, DEADLINE])
def test_no_file_is_open_after_the_deadline(staged: Staged, now: int) -> None:
    files = [picture(1), picture(2), picture(3)]
    staged.batch(*files)
    staged.work(staged.received(staged.put(files[0])))
    staged.put(files[1], 1)

    swept(staged, now=now)

    over = now == DEADLINE
    assert states(staged) == (["OK", "FAILED", "MISSING"] if over else ["OK", "PENDING", "PENDING"])
    assert staged.read().state is (BatchState.EXPIRED if over else BatchState.OPEN)
    assert staged.file(1).outcome == ({"code": "batch.deadline"} if over else {})


def test_a_cancelled_batch_is_cancelled_file_by_file(staged: Staged) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    staged.work(staged.received(staged.put(files[0])))
    staged.aws.jobs.decide_end(ID, BatchState.CANCELLED, now=1)

    swept(staged)

    assert states(staged) == ["OK", "CANCELLED"]
    assert staged.read().state is BatchState.CANCELLED


def test_a_cancelled_batch_that_also_passes_its_deadline_stays_cancelled(staged: Staged) -> None:
    staged.batch(picture())
    staged.aws.jobs.decide_end(ID, BatchState.CANCELLED, now=1)

    swept(staged, now=DEADLINE + 1)

    assert staged.read().state is BatchState.CANCELLED


def test_reserved_numbers_never_used_are_missing(staged: Staged) -> None:
    staged.batch()
    staged.aws.clients.dynamodb.update_item(  # what a declaring call does before it dies
        TableName=staged.aws.settings.table,
        Key={"PK": {"S": f"B#{ID}"}, "SK": {"S": "META"}},
        UpdateExpression="ADD declared :two",
        ExpressionAttributeValues={":two": {"N": "2"}},
    )
    staged.aws.jobs.close(ID)

    swept(staged)

    assert states(staged) == ["MISSING", "MISSING"]
    assert staged.read().state is BatchState.FAILED


@pytest.mark.parametrize("close", [False, True], ids=["open", "closed"])
def test_a_lost_event_is_resent_and_processed(staged: Staged, *, close: bool) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    staged.put(files[0])
    if close:
        staged.aws.jobs.close(ID)

    swept(staged, after=GRACE_S + 60)

    sent = queued(staged)
    assert len(sent) == 1
    assert staged.work({"Records": sent}) == set()
    assert states(staged) == ["OK", "MISSING" if close else "PENDING"]
    assert staged.engine.sizes == [1]


def test_a_resent_event_names_the_bytes(staged: Staged) -> None:
    staged.batch(picture())
    stored = staged.put(picture())
    swept(staged, after=GRACE_S + 60)

    [sent] = queued(staged)

    [record] = json.loads(sent["body"])["Records"]
    thing = record["s3"]["object"]
    assert (thing["versionId"], f'"{thing["eTag"]}"') == (stored.version, stored.etag)


def test_a_recent_event_is_not_resent(staged: Staged) -> None:
    staged.batch(picture())
    staged.put(picture())

    swept(staged, after=GRACE_S - 60)

    assert queued(staged) == []


def test_no_event_is_resent_while_messages_wait(staged: Staged) -> None:
    staged.batch(picture())
    staged.put(picture())
    staged.aws.clients.sqs.send_message(QueueUrl=staged.aws.settings.interactive_queue_url, MessageBody="{}")

    swept(staged, after=GRACE_S + 60)

    assert [record["body"] for record in queued(staged)] == ["{}"]


def test_an_event_is_resent_a_bounded_number_of_times(staged: Staged) -> None:
    staged.batch(picture())
    staged.put(picture())
    sent = []
    for minute in range(0, 120, 5):
        swept(staged, after=GRACE_S + 60 * minute)
        sent += [minute] * len(queued(staged))

    assert len(sent) == RESEND_MOST
    assert all(later - earlier >= GRACE_S / 60 for earlier, later in pairwise(sent))


def test_events_of_ended_files_are_not_resent(staged: Staged) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    staged.work(staged.received(staged.put(files[0])))
    staged.put(files[1], 1)

    swept(staged, after=GRACE_S + 60)

    assert [json.loads(each["body"])["Records"][0]["s3"]["object"]["key"][-5:] for each in queued(staged)] == ["00001"]


def test_a_file_that_ended_meanwhile_is_not_resent(staged: Staged) -> None:
    staged.batch(picture())
    seen = staged.file()
    staged.aws.jobs.settle(ID, 0, FileState.FAILED, {"code": "x"})

    assert not staged.aws.jobs.count_resend(seen, now=5, after_s=1, most=9)


def failing(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands for any method
    raise ClientError({"Error": {"Code": "Throttled", "Message": "secret"}}, "Query")


def test_a_failing_batch_does_not_stop_others_and_moves_behind_them(
    staged: Staged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (ID, OTHER):
        staged.batch(picture(), number_of_batch=name)
        staged.aws.jobs.close(name)
    advance = sweeps.advance

    def troubled(account: Any, name: str, now: int) -> None:  # noqa: ANN401 - hands on
        if name == ID:
            failing()
        advance(account, name, now)

    monkeypatch.setattr(sweeps, "advance", troubled)

    assert swept(staged) == {"swept": 2, "failed": 1}
    assert (staged.read(ID).state, staged.read(OTHER).state) == (BatchState.RUNNING, BatchState.FAILED)
    printed = capsys.readouterr().out
    assert "ClientError Throttled" in printed
    assert "secret" not in printed


def test_batches_swept_longest_ago_come_first(staged: Staged) -> None:
    for name in (ID, OTHER):
        staged.batch(picture(), number_of_batch=name)
    assert staged.aws.jobs.unfinished(limit=2) == [ID, OTHER]

    budget = iter([100.0, 1.0])
    assert sweep(staged.context.account, 2_000_000_000, lambda: next(budget))["swept"] == 1

    assert staged.aws.jobs.unfinished(limit=2) == [OTHER, ID]


INTERRUPTED: list[tuple[type, str]] = [
    (BatchTable, "decide_end"),
    (BatchTable, "settle"),
    (Staging, "uploaded"),
    (Staging, "write_once"),
    (BatchTable, "finish"),
]


@pytest.mark.parametrize(("owner", "method"), INTERRUPTED, ids=[method for _, method in INTERRUPTED])
def test_an_interrupted_sweep_is_completed_by_the_next(staged: Staged, owner: type, method: str) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    staged.put(files[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, failing)
        assert swept(staged, now=DEADLINE)["failed"] == 1
    assert not staged.read().state.terminal

    swept(staged, now=DEADLINE + 60)

    assert staged.read().state is BatchState.EXPIRED
    assert states(staged) == ["FAILED", "MISSING"]


def test_without_a_queue_nothing_is_resent_and_the_rest_is_swept(staged: Staged) -> None:
    staged.batch(picture())
    staged.put(picture())
    account = staged.context.account
    settings = account.settings.model_copy(update={"interactive_queue_url": ""})
    mute = type(account)(settings, account.jobs, account.staging, None)

    assert sweep(mute, int(time.time()) + GRACE_S + 60, lambda: 100) == {"swept": 1, "failed": 0}


def test_the_handler_sweeps(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.batch(picture())
    staged.aws.jobs.close(ID)
    monkeypatch.setenv("HEATLENS_BUCKET", staged.aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", staged.aws.settings.table)
    sweeper = imported("functions.batch.sweeper")
    scheduled = {"source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": {}}

    assert sweeper.handler(scheduled, Context(seconds=5)) == {"swept": 0, "failed": 0}
    assert sweeper.handler(scheduled, Context()) == {"swept": 1, "failed": 0}
    assert staged.read().state is BatchState.FAILED


def test_a_batch_that_kills_the_sweeper_moves_behind_the_others(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (ID, OTHER):
        staged.batch(picture(), number_of_batch=name)
        staged.aws.jobs.close(name)
    advance = sweeps.advance

    def killed(account: context.Account, name: str, now: int) -> None:
        if name == ID:
            raise KeyboardInterrupt  # what Lambda does when the time is over leaves as little behind
        advance(account, name, now)

    monkeypatch.setattr(sweeps, "advance", killed)
    for minute in range(2):
        with suppress(KeyboardInterrupt):
            swept(staged, now=2_000_000_000 + 60 * minute)

    assert staged.read(OTHER).state.terminal


def test_no_event_is_resent_while_its_queue_has_a_backlog_however_old(staged: Staged) -> None:
    staged.batch(picture())
    staged.put(picture())
    send(staged, Lane.INTERACTIVE)

    for hours in (1, 7, 55, 95):
        swept(staged, after=hours * 3600)

    assert [each["body"] for each in queued(staged)] == ["somebody else's"]
    swept(staged, after=96 * 3600)
    assert len(queued(staged)) == 1, "the queue is empty"


def test_the_backlog_of_the_other_lane_does_not_matter_and_an_event_goes_to_its_own_lane(staged: Staged) -> None:
    for lane, name in ((Lane.INTERACTIVE, ID), (Lane.BULK, OTHER)):
        batch = staged.batch(picture(), number_of_batch=name, lane=lane)
        staged.put(picture(), key=batch.upload_key(0))
    send(staged, Lane.BULK)

    swept(staged, after=GRACE_S + 60)

    assert [key(each) for each in queued(staged)] == [f"in/i/{ID}/00000"]
    assert [each["body"] for each in queued(staged, Lane.BULK)] == ["somebody else's"]
    swept(staged, after=GRACE_S + 120)
    assert [key(each) for each in queued(staged, Lane.BULK)] == [f"in/b/{OTHER}/00000"]


def test_while_workers_have_messages_an_event_is_resent_after_their_last_delivery(staged: Staged) -> None:
    staged.batch(picture())
    staged.put(picture())
    send(staged, Lane.INTERACTIVE)
    sqs, queue = staged.aws.clients.sqs, staged.aws.settings.interactive_queue_url
    sqs.receive_message(QueueUrl=queue)
    progress(staged, time.time() - PROGRESS_S)

    swept(staged, after=IN_FLIGHT_S - 60)
    assert queued(staged) == []

    swept(staged, after=IN_FLIGHT_S + 60)
    assert len(queued(staged)) == 1


def test_an_event_that_was_sent_back_is_not_resent_while_workers_have_messages(staged: Staged) -> None:
    """It is younger than its upload."""
    staged.batch(picture())
    event = staged.received(staged.put(picture()))
    progress(staged, time.time() - PROGRESS_S)
    sqs, queue = staged.aws.clients.sqs, staged.aws.settings.interactive_queue_url
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("functions.batch.worker.time.time", lambda: NOW + 2 * IN_FLIGHT_S)
        assert staged.work(event, seconds=5) == set()
    assert sqs.receive_message(QueueUrl=queue)["Messages"]

    swept(staged, now=NOW + 2 * IN_FLIGHT_S + 60)

    assert staged.file().resends == 0


@pytest.mark.parametrize("why", ["no time", "denied"])
def test_a_message_that_was_sent_back_is_progress_and_its_file_does_not_expire(staged: Staged, why: str) -> None:
    """It may wait for as long as the queue keeps it, which is longer than its upload's first message."""
    staged.batch(picture())
    event = staged.received(staged.put(picture()))
    progress(staged, NOW)
    late = NOW + staged.aws.settings.queue_retention_s - 60
    event["Records"][0]["attributes"]["SentTimestamp"] = str(NOW * 1000)
    Wires([staged.aws.clients.s3]).hooks = (denies := Denies(),)
    denies.active = why == "denied"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("functions.batch.worker.time.time", lambda: late)
        patch.setattr("functions.batch.requeue.time.time", lambda: late)
        assert staged.work(event, seconds=100 if why == "denied" else 5) == set()

    deadline = late + staged.aws.settings.batch_deadline_s
    assert staged.read().deadline == deadline
    assert deadline - PROGRESS_S > late + staged.aws.settings.queue_retention_s
    swept(staged, now=late + staged.aws.settings.queue_retention_s)
    assert (staged.read().state, states(staged)) == (BatchState.OPEN, ["PENDING"])


def test_a_notice_that_was_sent_back_is_progress(staged: Staged, tiny_folder: Path) -> None:
    runtime = with_endpoint(staged, tiny_folder)
    staged.batch(picture(), options={"backend": "sagemaker", "include": ["overlay"]})
    staged.work(staged.received(staged.put(picture())))
    progress(staged, NOW - 10 * PROGRESS_S)

    assert staged.work(staged.received(enveloped(runtime.notices[0])), seconds=5) == set()

    assert staged.read().deadline > NOW + staged.aws.settings.batch_deadline_s - PROGRESS_S


def test_one_invocation_notes_progress_of_a_batch_once(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.batch(*(picture(seed) for seed in range(5)))
    stored = [staged.put(picture(seed), seed) for seed in range(5)]
    progress(staged, NOW - 10 * PROGRESS_S)
    moved: list[int] = []
    monkeypatch.setattr(BatchTable, "extend_deadline", lambda _self, _batch, deadline: moved.append(deadline))

    staged.work(staged.received(*stored), seconds=5)

    assert len(moved) == 1


def test_resent_events_are_explained_together_and_alone_only_after_the_first_time(staged: Staged) -> None:
    files = [picture(seed) for seed in range(3)]
    staged.batch(*files)
    for number, data in enumerate(files):
        staged.put(data, number)

    swept(staged, after=GRACE_S + 60)
    first = queued(staged)
    swept(staged, after=2 * GRACE_S + 120)
    second = queued(staged)

    assert [each["messageAttributes"] for each in first] == [{}] * 3
    assert [list(each["messageAttributes"]) for each in second] == [["again"]] * 3
    staged.work({"Records": first})
    assert staged.engine.sizes == [3]


@pytest.mark.parametrize("taken", [False, True], ids=["waiting", "in flight"])
def test_what_may_still_wait_in_its_queue_does_not_expire(staged: Staged, *, taken: bool) -> None:
    staged.batch(picture(1), picture(2))
    staged.put(picture(1))
    due(staged)
    send(staged, Lane.INTERACTIVE)
    if taken:
        staged.aws.clients.sqs.receive_message(QueueUrl=staged.aws.settings.interactive_queue_url)

    swept(staged)
    assert (staged.read().ending, states(staged)) == (None, ["PENDING", "PENDING"])

    # The queue keeps no message for longer, whatever else is in it.
    swept(staged, after=staged.aws.settings.queue_retention_s + 60)
    assert (staged.read().state, states(staged)) == (BatchState.EXPIRED, ["FAILED", "MISSING"])


def test_a_backlog_of_another_lane_or_without_uploads_keeps_no_batch_open(staged: Staged) -> None:
    staged.batch(picture())
    staged.batch(picture(), number_of_batch=OTHER)
    staged.put(picture(), key=staged.read(OTHER).upload_key(0))
    for name in (ID, OTHER):
        due(staged, name)
    send(staged, Lane.BULK)

    swept(staged)

    assert (staged.read(ID).state, staged.read(OTHER).state) == (BatchState.EXPIRED, BatchState.EXPIRED)


def test_a_resent_event_is_progress(staged: Staged) -> None:
    staged.batch(picture())
    staged.put(picture())
    now = int(time.time()) + GRACE_S + 60
    due(staged)
    staged.aws.jobs.extend_deadline(ID, now + 60)

    swept(staged, now=now)

    assert staged.read().deadline == now + staged.aws.settings.batch_deadline_s


def test_a_deadline_that_moves_meanwhile_stands(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.batch(picture())
    due(staged)
    later = int(time.time()) + 1000
    monkeypatch.setattr(sweeps, "_may_wait", lambda *_: staged.aws.jobs.extend_deadline(ID, later))

    swept(staged)

    assert (staged.read().state, staged.read().deadline) == (BatchState.OPEN, later)


def send(staged: Staged, lane: Lane) -> None:
    queue = staged.aws.settings.queue_url(lane)
    staged.aws.clients.sqs.send_message(QueueUrl=queue, MessageBody="somebody else's")


def progress(staged: Staged, at: float) -> None:
    """Let a batch have made its last progress then."""
    staged.aws.clients.dynamodb.update_item(
        TableName=staged.aws.settings.table,
        Key=batch_key(ID),
        UpdateExpression="SET deadline = :deadline",
        ExpressionAttributeValues=attributes({":deadline": int(at) + staged.aws.settings.batch_deadline_s}),
    )


def due(staged: Staged, batch: str = ID) -> None:
    """Let a batch's deadline be over."""
    staged.aws.clients.dynamodb.update_item(
        TableName=staged.aws.settings.table,
        Key=batch_key(batch),
        UpdateExpression="SET deadline = :past",
        ExpressionAttributeValues={":past": {"N": str(int(time.time()) - 60)}},
    )


def key(record: Json) -> str:
    found: str = json.loads(record["body"])["Records"][0]["s3"]["object"]["key"]
    return unquote_plus(found)

"""The worker behind a real queue: commits, redelivery, giving up, dead letters."""

import hashlib
import json
import time
from typing import Any

import httpx2
import pytest

from functions.batch import requeue
from functions.batch import sweep as sweeps
from heatlens_aws.object_keys import manifest_key
from heatlens_aws.records import BatchState, FileState
from heatlens_aws.staging import Staging, Stored, Superseded
from heatlens_cli.redrive import redrive
from heatlens_cli.verify.manifest import Manifest
from heatlens_cli.verify.run import faults
from tests.functional.batch.test_worker import throttled
from tests.staging.poller import Poller
from tests.support.aws import ID
from tests.support.staged import Staged, grey, picture


def upload(staged: Staged, number: int, data: bytes) -> None:
    """Upload through the link, as a client does."""
    url, headers = staged.aws.staging.upload_link(staged.file(number), staged.read().upload_key(number), lifetime_s=60)
    assert httpx2.put(url, headers=headers, content=data).status_code == 200


def states(staged: Staged) -> list[str]:
    return [file.state.value for file in staged.aws.jobs.files(staged.read())]


def reader(staged: Staged, key: str) -> bytes | None:
    try:
        return staged.aws.staging.read(Stored(key), max_bytes=1_000_000)
    except Superseded:
        return None


@pytest.fixture
def dead_letters(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dead-letter queue, with redelivery at once."""
    monkeypatch.setattr(requeue, "FIRST_DELAY_S", 0)
    sqs, settings = staged.aws.clients.sqs, staged.aws.settings
    queue: str = sqs.create_queue(QueueName=f"{settings.interactive_queue_url.rpartition('/')[2]}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"deadLetterTargetArn": arn, "maxReceiveCount": settings.max_receives}
    sqs.set_queue_attributes(QueueUrl=settings.interactive_queue_url, Attributes={"RedrivePolicy": json.dumps(policy)})
    return queue


def test_a_declared_batch_is_processed_from_uploads_to_manifest(staged: Staged, poller: Poller) -> None:
    files = [picture(seed) for seed in range(3)]
    staged.batch(*files)
    for number, data in enumerate(files):
        upload(staged, number, data)
    staged.aws.jobs.close(ID)

    poller.until(lambda: staged.read().state.terminal)

    assert (staged.read().state, states(staged)) == (BatchState.SUCCEEDED, ["OK"] * 3)
    for number, stored in enumerate(staged.aws.staging.uploaded("in/")):
        assert staged.file(number).outcome["version"] == stored.version
    manifest = Manifest.parse(staged.object(manifest_key(ID)), "the manifest")
    manifest = manifest.model_copy(update={"model": staged.context.model.sha256})  # the desk declares with none
    assert faults(manifest, lambda key: reader(staged, key)) == []
    assert [file.sha256 for file in manifest.files] == [hashlib.sha256(data).hexdigest() for data in files]
    assert len(staged.keys("out/")) == 3 * 3 + 2
    assert poller.held() == 0


def test_a_duplicate_message_is_processed_once(staged: Staged, poller: Poller) -> None:
    poller.turn()
    data = picture()
    staged.batch(data)
    upload(staged, 0, data)
    [message] = poller.receive(VisibilityTimeout=0)
    staged.aws.clients.sqs.send_message(QueueUrl=staged.aws.settings.interactive_queue_url, MessageBody=message["Body"])

    poller.until(lambda: poller.held() == 0)

    assert (staged.engine.sizes, states(staged)) == ([1], ["OK"])
    assert len(staged.keys("out/")) == 3


def test_a_message_is_redelivered_after_its_delay_on_a_temporary_error(
    staged: Staged, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller.turn()
    monkeypatch.setattr(requeue, "FIRST_DELAY_S", 3)  # the queue's own would be 720
    good, bad = picture(1), picture(2)
    staged.batch(good, bad)
    upload(staged, 0, good)
    upload(staged, 1, bad)
    read, failed = Staging.read, list[float]()

    def fail_once(staging: Staging, stored: Stored, **more: Any) -> bytes:  # noqa: ANN401 - hands on
        if failed or not stored.key.endswith("1"):
            return read(staging, stored, **more)
        failed.append(time.monotonic())
        return bytes(throttled())

    monkeypatch.setattr(Staging, "read", fail_once)
    poller.until(lambda: failed and states(staged) == ["OK", "PENDING"])
    assert poller.receive(wait_s=0) == []

    [back] = poller.receive(wait_s=10, VisibilityTimeout=0)
    assert 2 < time.monotonic() - failed[0] < 20
    assert back["Attributes"]["ApproximateReceiveCount"] == "2"
    poller.until(lambda: states(staged) == ["OK", "OK"])
    assert poller.held() == 0


def test_only_messages_that_no_worker_can_end_become_dead_letters(
    staged: Staged, poller: Poller, dead_letters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture()
    staged.batch(data)
    upload(staged, 0, data)
    staged.aws.clients.sqs.send_message(QueueUrl=staged.aws.settings.interactive_queue_url, MessageBody="no event")
    monkeypatch.setattr(Staging, "read", throttled)
    letters: list[dict[str, Any]] = []

    poller.until(lambda: letters.extend(poller.receive(queue=dead_letters, wait_s=0)) or letters)  # type: ignore[func-returns-value]
    poller.until(lambda: poller.held() == 0)

    assert [letter["Body"] for letter in letters] == ["no event"]
    assert poller.receive(queue=dead_letters) == []
    assert staged.file().state is FileState.FAILED
    assert staged.file().outcome["code"] == "batch.gave_up"


def test_a_message_that_kills_its_workers_becomes_a_dead_letter_and_can_be_requeued(
    staged: Staged, poller: Poller, dead_letters: str
) -> None:
    poller.turn()
    data = picture()
    staged.batch(data)
    upload(staged, 0, data)
    for receives in range(1, staged.aws.settings.max_receives + 1):
        [message] = poller.receive(VisibilityTimeout=0)  # and nobody answers
        assert message["Attributes"]["ApproximateReceiveCount"] == str(receives)
    assert poller.receive() == []
    assert poller.held() == 0

    assert redrive(staged.aws.clients, staged.aws.settings, dead_letters) == (1, 0)
    poller.until(lambda: states(staged) == ["OK"])
    assert poller.held() == 0


def test_both_versions_of_an_overwritten_drop_are_processed(staged: Staged, bulk: Poller) -> None:
    key = "drop/ward 3/Zoë + 50%.png"
    stored = [staged.put(grey(level), key=key) for level in (10, 20)]

    bulk.until(lambda: len(staged.engine.seen) == 2)

    assert sorted(staged.engine.seen) == [10, 20]
    found = {each.split("/")[3] for each in staged.keys("out/drop/ward%203%2FZo%C3%AB%20%2B%2050%25.png/")}
    assert found == {each.version for each in stored}


def test_a_drop_erased_meanwhile_ends_without_a_result(
    staged: Staged, bulk: Poller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeue, "FIRST_DELAY_S", 1)  # it might only not be visible yet, so it comes once more
    stored = staged.put(picture(), key="drop/a.png")
    staged.aws.clients.s3.delete_object(Bucket=staged.aws.settings.bucket, Key=stored.key, VersionId=stored.version)

    bulk.until(lambda: bulk.held() == 0)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["state"] for line in lines if line.get("message") == "item"] == ["AGAIN", "SUPERSEDED"]
    assert (staged.engine.sizes, staged.keys("out/")) == ([], [])


def test_a_lost_event_is_resent_and_processed(staged: Staged, poller: Poller) -> None:
    data, account = picture(), staged.context.account
    staged.batch(data)
    upload(staged, 0, data)
    while messages := poller.receive():  # all of them are lost
        for message in messages:
            account.sqs.delete_message(
                QueueUrl=account.settings.interactive_queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
    later = int(time.time()) + sweeps.GRACE_S + 60

    assert sweeps.sweep(account, later, lambda: 100) == {"swept": 1, "failed": 0}
    poller.until(lambda: states(staged) == ["OK"])

    assert poller.held() == 0
    assert sweeps.send_lost(account, staged.read(), later + sweeps.GRACE_S, [staged.file()]) == 0

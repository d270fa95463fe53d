"""S3 answers 403 for a missing object, and for one that the role or the KMS key denies: the first is gone, the second
waits until that is repaired, and no file fails by it.
"""

import json
import time
from pathlib import Path

import pytest

from functions.batch import sweep as sweeps
from functions.batch.errors import TryAgain
from functions.batch.requeue import LONGEST_DELAY_S
from functions.batch.sweep import sweep
from heatlens.model import Model
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.creation import RequestKey
from heatlens_aws.errors import StagingUnavailable
from heatlens_aws.metrics import ACCESS_DENIED
from heatlens_aws.object_keys import ASYNC, Lane, upload_key
from heatlens_aws.records import BatchState, FileState
from heatlens_aws.staging import Staging, Stored
from heatlens_web.access import Access, AccessLog, current_access
from heatlens_web.batches.service import BatchService
from tests.chaos.hooks import Call, Hook, Wires
from tests.functional.batch.test_sagemaker_path import LONG, REMOTE
from tests.support.aws import ID, Account, purged
from tests.support.coroutines import awaited
from tests.support.denials import Denies, HidesMissing, denial
from tests.support.life import Life, Then, live
from tests.support.sagemaker import FakeRuntime, enveloped, with_endpoint
from tests.support.staged import Json, Staged, desk, picture

DELIVERIES = 12  # over twice as many as a message may fail
CODES = ("AccessDenied", "KMS.DisabledException")


class Sent(Hook):
    """Keeps what is sent to a queue."""

    def __init__(self) -> None:
        self.messages: list[Json] = []

    def before(self, call: Call) -> Json | None:
        if call.name != "SendMessage":
            return None
        self.messages.append(call.params)
        return {"MessageId": "sent"}


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


@pytest.fixture
def runtime(staged: Staged, tiny_folder: Path) -> FakeRuntime:
    return with_endpoint(staged, tiny_folder)


@pytest.fixture
def sent(aws: Account) -> Sent:
    hook = Sent()
    Wires([aws.clients.sqs]).hooks = (hook,)
    return hook


def s3(staged: Staged, *hooks: Hook) -> None:
    Wires([staged.aws.clients.s3]).hooks = hooks


def again(staged: Staged, sent: Json, receives: int = 1) -> Json:
    """Make the event of a message that was sent."""
    message = staged.message(sent["MessageBody"], "m0", receives)
    attributes = {
        name: {"dataType": each["DataType"], "stringValue": each["StringValue"]}
        for name, each in sent["MessageAttributes"].items()
    }
    return {"Records": [message | {"messageAttributes": attributes}]}


def lines(capsys: pytest.CaptureFixture[str], message: str = "item") -> list[Json]:
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [each for each in found if each.get("message") == message]


def denials(capsys: pytest.CaptureFixture[str]) -> int:
    """Add up the metric of the lines so far."""
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return sum(sum(each["AccessDenied"]) for each in found if "AccessDenied" in each)


def swept(staged: Staged, after: float = 0) -> dict[str, int]:
    return sweep(staged.context.account, int(time.time() + after), lambda: 100)


def test_batches_live_as_with_404_where_every_missing_object_answers_403(
    aws: Account, tiny_model: Model, tiny_folder: Path
) -> None:
    hides = HidesMissing()
    life = Life(aws, tiny_model, tiny_folder, always=(hides,))

    live(life)

    assert hides.hidden


@pytest.mark.parametrize("receives", [1, 4, 5])
@pytest.mark.parametrize("key", [upload_key(Lane.INTERACTIVE, ID, 0), "drop/a.png"])
def test_a_missing_object_ends_its_message_as_with_404(
    staged: Staged, sent: Sent, receives: int, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    staged.batch(picture())
    ends = []
    for hooks in ((), (HidesMissing(),)):
        s3(staged, *hooks)
        unfinished = staged.work(staged.received(Stored(key, "no-such-version", '"0"'), receives=receives))
        ends.append((unfinished, [each["state"] for each in lines(capsys)]))

    assert ends[0] == ends[1]
    assert staged.file().state is FileState.PENDING
    assert sent.messages == []


@pytest.mark.parametrize("code", CODES)
def test_a_file_that_aws_denies_is_sent_again_and_never_fails(
    staged: Staged, sent: Sent, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()))
    denies = Denies(code=code)
    s3(staged, denies)
    for _ in range(DELIVERIES):
        assert staged.work(event) == set()
        event = again(staged, sent.messages.pop())

    assert staged.file().state is FileState.PENDING
    logged = lines(capsys)
    assert [(each["level"], each["state"], each["number"]) for each in logged] == [("ERROR", "DENIED", 0)] * DELIVERIES
    assert all(code in each["error"] for each in logged)
    denies.active = False
    assert staged.work(event) == set()
    assert staged.file().state is FileState.OK


def test_denials_are_counted(staged: Staged, sent: Sent, capsys: pytest.CaptureFixture[str]) -> None:
    staged.batch(picture(1), picture(2))
    s3(staged, Denies())

    staged.work(staged.received(staged.put(picture(1)), staged.put(picture(2), 1)))

    assert denials(capsys) == 2


def test_a_denied_drop_gets_no_failure_and_is_explained_later(staged: Staged, sent: Sent) -> None:
    event = staged.received(staged.put(picture(), key="drop/a.png"), receives=5)
    denies = Denies()
    s3(staged, denies)

    assert staged.work(event) == set()
    assert staged.keys("out/") == []

    denies.active = False
    assert staged.work(again(staged, sent.messages.pop())) == set()
    assert any(key.endswith("overlay.png") for key in staged.keys("out/drop/"))


def test_a_denied_message_waits_longer_the_older_it_is(staged: Staged, sent: Sent) -> None:
    staged.batch(picture())
    s3(staged, Denies())
    stored, now = staged.put(picture()), time.time()
    for age in (0, 100, 100_000):
        event = staged.received(stored, receives=3)
        event["Records"][0]["attributes"]["SentTimestamp"] = str(int((now - age) * 1000))
        assert staged.work(event) == set()

    first, second, third = (each["DelaySeconds"] for each in sent.messages)
    assert (first, third) == (10, LONGEST_DELAY_S)
    assert 100 <= second < 200
    attributes = sent.messages[0]["MessageAttributes"]
    assert (attributes["failed"]["StringValue"], attributes["waited"]["StringValue"]) == ("2", "0")


def test_a_message_that_is_older_than_the_queue_keeps_messages_is_redelivered(staged: Staged, sent: Sent) -> None:
    staged.batch(picture())
    s3(staged, Denies())
    event = staged.received(staged.put(picture()), receives=5)
    event["Records"][0]["attributes"]["SentTimestamp"] = "1000000000000"

    assert staged.work(event) == {"m0"}
    assert staged.file().state is FileState.PENDING


def test_results_that_may_not_be_written_fail_no_file(staged: Staged, sent: Sent) -> None:
    staged.batch(picture(), b"no image")
    event = staged.received(staged.put(picture()), staged.put(b"no image", key="drop/x"), receives=5)
    denies = Denies("PutObject", code="KMS.DisabledException")
    s3(staged, denies)

    assert staged.work(event) == set()

    assert len(sent.messages) == 2
    assert staged.file().state is FileState.PENDING
    assert staged.keys("out/") == []


def test_a_table_that_aws_denies_fails_no_file(staged: Staged, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()), receives=5)

    def refuse(*_: object) -> None:
        raise denial("AccessDeniedException", "GetItem")

    with monkeypatch.context() as patch:
        patch.setattr(BatchTable, "batch", refuse)
        assert staged.work(event) == set()
    assert (len(sent.messages), staged.file().state) == (1, FileState.PENDING)


def test_a_denied_event_of_no_queue_is_to_be_sent_again_by_its_sender(staged: Staged) -> None:
    staged.batch(picture())
    stored = staged.put(picture())
    s3(staged, Denies())

    with pytest.raises(TryAgain):
        staged.invoke({"Records": [staged.record(stored)]})


@pytest.mark.parametrize("name", ["HeadObject", "GetObject"])
def test_a_denied_upload_is_not_submitted_and_does_not_fail(
    staged: Staged, runtime: FakeRuntime, sent: Sent, name: str
) -> None:
    staged.batch(picture(), options=REMOTE)
    event = staged.received(staged.put(picture()), receives=5)
    denies = Denies("HeadObject", "GetObject") if name == "GetObject" else Denies("HeadObject")
    s3(staged, denies)

    assert staged.work(event) == set()
    assert (staged.file().state, runtime.asked) == (FileState.PENDING, [])
    denies.active = False
    assert staged.work(again(staged, sent.messages.pop())) == set()
    assert staged.file().state is FileState.SUBMITTED


def test_a_denied_response_is_committed_later(
    staged: Staged, runtime: FakeRuntime, sent: Sent, capsys: pytest.CaptureFixture[str]
) -> None:
    staged.batch(picture(), options=REMOTE)
    staged.work(staged.received(staged.put(picture())))
    denies = Denies("GetObject")
    s3(staged, denies)

    assert staged.work(staged.received(enveloped(runtime.notices[0]), receives=5)) == set()
    assert [(each["level"], each["state"]) for each in lines(capsys, "notice")] == [("ERROR", "DENIED")]
    assert staged.file().state is FileState.SUBMITTED

    denies.active = False
    assert staged.work(again(staged, sent.messages.pop())) == set()
    assert staged.file().state is FileState.OK


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("kind", ["upload", "response", "failure", "checked upload"])
def test_a_file_of_the_endpoint_ends_alike_whatever_s3_answers_for_what_is_gone(
    staged: Staged, runtime: FakeRuntime, sent: Sent, kind: str, capsys: pytest.CaptureFixture[str], *, hidden: bool
) -> None:
    data = b"no image" if kind == "failure" else picture()
    staged.batch(data, options=REMOTE)
    event = staged.received(staged.put(data), receives=5)
    if kind != "upload":
        staged.work(event)
        event = staged.received(enveloped(runtime.notices[0]))
    staged.aws.staging.erase("in/" if kind in ("upload", "checked upload") else ASYNC)
    hides = HidesMissing()
    s3(staged, *([hides] if hidden else []))

    assert staged.work(event) == set()
    ends = lines(capsys, "item" if kind == "upload" else "notice")
    assert ends[-1]["state"] == ("FAILED" if kind == "failure" else "SUPERSEDED")
    assert bool(hides.hidden) is hidden
    assert sent.messages == []


@pytest.mark.parametrize("hidden", [False, True])
def test_the_sweeper_finds_that_a_response_is_missing_whatever_s3_answers(
    staged: Staged, runtime: FakeRuntime, *, hidden: bool
) -> None:
    runtime.delayed = True
    staged.batch(picture(), options=REMOTE)
    staged.work(staged.received(staged.put(picture())))
    s3(staged, *([HidesMissing()] if hidden else []))

    assert swept(staged, LONG)["failed"] == 0
    assert staged.file().outcome["code"] == "async.failed"


def test_the_sweeper_waits_for_a_response_that_aws_denies(
    staged: Staged, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    staged.batch(picture(), options=REMOTE)
    staged.work(staged.received(staged.put(picture())))
    assert staged.keys(ASYNC)
    denies = Denies()
    s3(staged, denies)

    assert swept(staged, LONG) == {"swept": 1, "failed": 1}
    assert staged.file().state is FileState.SUBMITTED
    captured = capsys.readouterr().out
    assert '"AccessDenied":[1.0]' in captured
    assert '"level":"ERROR"' in captured

    denies.active = False
    assert swept(staged, LONG)["failed"] == 0
    assert staged.file().state is FileState.OK


def test_documents_that_may_not_be_written_leave_the_batch_running(
    staged: Staged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()))
    staged.aws.jobs.close(ID)

    def refuse(*_: object, **__: object) -> None:
        raise denial("KMS.DisabledException", "PutObject")

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "write_once", refuse)
        assert staged.work(event) == set()
        assert '"AccessDenied":[1.0]' in capsys.readouterr().out
        assert swept(staged)["failed"] == 1
    assert staged.read().state is BatchState.RUNNING
    assert swept(staged)["failed"] == 0
    assert staged.read().state is BatchState.SUCCEEDED


def test_a_denied_erasure_is_counted_and_repeated(
    staged: Staged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    life = staged.batch(picture())
    staged.put(picture())
    purged(staged.aws, life, now=int(time.time()))
    denies = Denies("ListObjectVersions")
    s3(staged, denies)

    assert swept(staged, sweeps.GRACE_S) == {"swept": 1, "failed": 1}
    assert denials(capsys) == 1
    denies.active = False
    assert swept(staged, 2 * sweeps.GRACE_S)["failed"] == 0
    assert staged.keys("") == []


def failed_batch(staged: Staged) -> BatchService:
    """Finish a batch whose only file was uploaded and has failed."""
    batch = staged.batch(picture())
    staged.put(picture())
    staged.aws.jobs.settle(ID, 0, FileState.FAILED, {"code": "input.unreadable"})
    staged.aws.jobs.close(ID)
    service = BatchService(staged.aws.jobs, staged.aws.staging, staged.aws.settings)
    assert service.status(service.find(batch.owner, ID)).state == "failed"
    return service


def test_a_retry_asks_for_the_upload_that_is_gone_whatever_s3_answers(staged: Staged) -> None:
    service, hides = failed_batch(staged), HidesMissing()

    def expire() -> None:
        staged.aws.staging.erase(staged.read().upload_prefix)

    s3(staged, hides, Then(lambda call: call.name == "ListObjectVersions", expire))
    made = service.retry("me", ID, model="m")

    links = service.links(service.find("me", made.batch_id), start=0)
    assert [each.number for each in links.files] == [0]
    assert hides.hidden == ["CopyObject"]


def test_a_denied_copy_is_an_outage_that_ends_with_the_denial(staged: Staged, caplog: pytest.LogCaptureFixture) -> None:
    service, denies, seen = failed_batch(staged), Denies(), list[Access]()
    key = RequestKey.of("me", "key", {})
    s3(staged, denies)

    async def asks(*_: object) -> None:
        seen.append(current_access())
        with pytest.raises(StagingUnavailable), service.outages():
            service.retry("me", ID, model="m", key=key)

    awaited(AccessLog(asks, [])({"type": "http", "method": "POST", "state": {}}, None, None))  # type: ignore[arg-type]
    assert seen[0].ended == {ACCESS_DENIED: 1}
    assert "ERROR" in {record.levelname for record in caplog.records}

    denies.active = False
    made = service.replay(key)
    assert made
    assert staged.keys(service.find("me", made.batch_id).upload_prefix)


def test_a_batch_whose_documents_are_denied_is_finished_later(staged: Staged, caplog: pytest.LogCaptureFixture) -> None:
    batch = staged.batch(picture())
    staged.aws.jobs.settle(ID, 0, FileState.OK, {"attempt": "a"})
    staged.aws.jobs.close(ID)
    service, denies = BatchService(staged.aws.jobs, staged.aws.staging, staged.aws.settings), Denies("PutObject")
    s3(staged, denies)

    assert service.status(service.find(batch.owner, ID)).state == "running"
    assert [record.levelname for record in caplog.records if "could not be finished" in record.message] == ["ERROR"]
    denies.active = False
    assert service.status(service.find(batch.owner, ID)).state == "succeeded"

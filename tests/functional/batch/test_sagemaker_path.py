"""Files of the backend sagemaker are submitted and committed once, whatever happens to their notices."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.testclient import TestClient

from functions.batch.context import open_account
from functions.batch.destinations import DeclaredFile
from functions.batch.sweep import GRACE_S, advance, sweep
from heatlens.model import Model
from heatlens.pipeline import explain
from heatlens.results import Explanation
from heatlens.types import Options, Upload
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.metrics import ITEMS
from heatlens_aws.object_keys import ASYNC, Lane, attempt_prefix, manifest_key, upload_key
from heatlens_aws.records import BatchState, FileState
from heatlens_aws.sagemaker_async import Attempt, read_notice, response_key
from heatlens_aws.settings import STAGED_LIMITS, AwsSettings
from heatlens_aws.staging import Staging
from heatlens_web.batches.service import BatchService
from tests.functional.conftest import MakeClient
from tests.support.aws import ID, Account
from tests.support.dicom_studies import radiograph
from tests.support.sagemaker import EVENTS, FakeRuntime, connected, enveloped, notice, with_endpoint
from tests.support.staged import Json, Staged, desk, grey, picture

REMOTE = {"colormap": "hot", "alpha": 0.7, "include": ["overlay", "original"], "backend": "sagemaker"}
LOCAL = REMOTE | {"backend": "lambda"}
OTHER = "01J11111111111111111111111"
ATTEMPT = "01J22222222222222222222222"
URL = "/api/inference/batches"
LONG = 6 * 3600 + 900 + 60  # an image may wait for six hours and be worked at for a quarter of one


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


@pytest.fixture
def runtime(staged: Staged, tiny_folder: Path) -> FakeRuntime:
    return with_endpoint(staged, tiny_folder)


def submitted(staged: Staged, *files: bytes) -> None:
    """Make a batch of these files, upload them and process their events."""
    staged.batch(*files, options=REMOTE)
    stored = [staged.put(data, number) for number, data in enumerate(files)]
    assert staged.work(staged.received(*stored)) == set()


def deliver(staged: Staged, *notices: Json) -> set[str]:
    return staged.work(staged.received(*(enveloped(each) for each in notices)))


def swept(staged: Staged, *, after: float = 0) -> dict[str, int]:
    return sweep(staged.context.account, int(time.time() + after), lambda: 100)


def lines(capsys: pytest.CaptureFixture[str], event: str = "notice") -> list[Json]:
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [each for each in found if each.get("message") == event]


def committed(staged: Staged, number: int = 0, batch: str = ID) -> dict[str, bytes]:
    """Read the objects that the row names and check their digests."""
    file = staged.file(number, batch)
    assert file.state is FileState.OK, file.outcome
    prefix = attempt_prefix(batch, number, file.outcome["attempt"])
    objects = {name: staged.object(prefix + name) for name in file.outcome["objects"]}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in objects.items()} == file.outcome["objects"]
    return objects


def test_the_committed_result_equals_the_functions_own(staged: Staged, runtime: FakeRuntime) -> None:
    data = picture()
    submitted(staged, data)
    assert deliver(staged, *runtime.notices) == set()

    staged.batch(data, number_of_batch=OTHER, options=LOCAL)
    staged.work(staged.received(staged.put(data, key=upload_key(Lane.INTERACTIVE, OTHER, 0))))

    there, here = committed(staged), committed(staged, batch=OTHER)
    assert sorted(there) == ["map.npy", "overlay.png", "result.json"]
    assert (there["overlay.png"], there["map.npy"]) == (here["overlay.png"], here["map.npy"])
    remote, local = json.loads(there["result.json"]), json.loads(here["result.json"])
    assert (remote["model"].pop("engine"), local["model"].pop("engine")) == ("openvino", "counting")
    assert remote == local
    for name in ("label", "probability", "quality", "familiarity"):
        assert staged.file().outcome[name] == staged.file(batch=OTHER).outcome[name]
    assert set(staged.file().outcome) == set(staged.file(batch=OTHER).outcome)
    assert staged.engine.sizes == [1]


def test_each_file_is_submitted_once_and_noted_in_its_row(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.delayed = True
    before = int(time.time())
    submitted(staged, picture(1), picture(2))

    [asked] = [each for each in runtime.asked if each["InputLocation"].endswith("/00001")]
    noted = staged.file(1).outcome
    version = staged.aws.staging.look(upload_key(Lane.INTERACTIVE, ID, 1)).stored.version
    assert len(runtime.asked) == 2
    assert staged.file(1).state is FileState.SUBMITTED
    assert asked["InferenceId"] == f"{ID}.1.{noted['attempt']}"
    assert asked["InputLocation"] == f"s3://{staged.aws.settings.bucket}/{upload_key(Lane.INTERACTIVE, ID, 1)}"
    assert (asked["ContentType"], asked["Accept"]) == ("image/png", "application/json")
    assert asked["CustomAttributes"] == "colormap=hot&alpha=0.7&include=map,overlay"
    assert (asked["InvocationTimeoutSeconds"], asked["RequestTTLSeconds"]) == (900, 21600)
    assert noted["output"].startswith(f"s3://{staged.aws.settings.bucket}/async/{ID}/00001/{noted['attempt']}/")
    assert noted["failure"].endswith("-error.out")
    assert (noted["version"], noted["at"] >= before) == (version, True)
    assert staged.engine.sizes == []


def test_every_picture_has_the_requested_format(staged: Staged, runtime: FakeRuntime) -> None:
    data, more = picture(), {"include": ["heatmap", "overlay"], "format": "jpeg", "window": [300.5, 100]}
    staged.batch(data, options=REMOTE | more)
    staged.work(staged.received(staged.put(data)))

    deliver(staged, *runtime.notices)
    staged.batch(data, number_of_batch=OTHER, options=LOCAL | more)
    staged.work(staged.received(staged.put(data, key=upload_key(Lane.INTERACTIVE, OTHER, 0))))

    words = "include=heatmap,map,overlay&format=jpeg&window=300.500000000,100.000000000"
    assert runtime.asked[0]["CustomAttributes"] == f"colormap=hot&alpha=0.7&{words}"
    there, here = committed(staged), committed(staged, batch=OTHER)
    assert sorted(there) == ["map.jpg", "map.npy", "overlay.jpg", "result.json"]
    assert [there[name] for name in ("map.jpg", "overlay.jpg")] == [here[name] for name in ("map.jpg", "overlay.jpg")]


def test_dicom_objects_are_those_that_the_endpoint_writes(
    staged: Staged, runtime: FakeRuntime, tiny_model: Model
) -> None:
    data, more = radiograph(), {"include": ["map"], "dicom": ["sc", "seg"]}
    staged.batch(data, options=REMOTE | more)
    staged.work(staged.received(staged.put(data)))

    deliver(staged, *runtime.notices)

    assert runtime.asked[0]["CustomAttributes"] == "colormap=hot&alpha=0.7&include=map&dicom=sc,seg"
    asked = Options("hot", 0.7, include=frozenset({"map"}), dicom=("sc", "seg"))
    [explained] = explain(tiny_model, [Upload("", data)], asked, limits=STAGED_LIMITS, batch_images=1)
    assert isinstance(explained, Explanation)
    found = committed(staged)
    assert sorted(found) == ["heatmap.sc.dcm", "heatmap.seg.dcm", "map.npy", "result.json"]
    assert {name: found[name] for name in found if name.endswith(".dcm")} == {
        f"heatmap.{each.kind}.dcm": each.data for each in explained.dicom
    }


@pytest.mark.parametrize(
    "objects",
    [
        None,
        [],
        [{"kind": "sc", "label": "A", "sop_class_uid": "1", "sop_instance_uid": "2", "data_base64": "SECRET"}],
        [{"kind": "sc", "label": "A", "sop_class_uid": "1", "sop_instance_uid": "2", "data_base64": "Tm8gRElDT00="}],
    ],
)
def test_a_response_without_the_objects_cannot_be_used(
    staged: Staged, runtime: FakeRuntime, objects: list[Json] | None
) -> None:
    data = radiograph()
    staged.batch(data, options=REMOTE | {"dicom": ["sc"]})
    staged.work(staged.received(staged.put(data)))
    place = staged.file().outcome["output"].removeprefix(f"s3://{runtime.bucket}/")
    answer = json.loads(staged.object(place)) | {"dicom": objects}
    runtime.s3.put_object(Bucket=runtime.bucket, Key=place, Body=json.dumps(answer).encode())

    deliver(staged, *runtime.notices)

    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "async.failed")
    assert staged.keys("out/") == []


def test_an_image_that_gives_no_object_fails_with_the_endpoints_code(staged: Staged, runtime: FakeRuntime) -> None:
    staged.batch(picture(), options=REMOTE | {"dicom": ["sc"]})
    staged.work(staged.received(staged.put(picture())))

    deliver(staged, *runtime.notices)

    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "input.dicom")


def test_a_batch_without_overlays_gets_none(staged: Staged, runtime: FakeRuntime) -> None:
    data = picture()
    staged.batch(data, options=REMOTE | {"include": ["map"]})
    staged.work(staged.received(staged.put(data)))

    deliver(staged, *runtime.notices)

    assert runtime.asked[0]["CustomAttributes"].endswith("include=map")
    assert sorted(committed(staged)) == ["map.npy", "result.json"]


@pytest.mark.parametrize("wrap", [enveloped, lambda notice: notice], ids=["envelope", "raw"])
def test_a_notice_is_read_with_and_without_an_sns_envelope(
    staged: Staged, runtime: FakeRuntime, wrap: Callable[[Json], Json]
) -> None:
    submitted(staged, picture())

    assert staged.work(staged.received(wrap(runtime.notices[0]))) == set()

    assert committed(staged)


def test_a_second_delivery_of_the_event_submits_nothing(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.delayed = True
    submitted(staged, picture())
    first = staged.file()
    stored = staged.aws.staging.look(upload_key(Lane.INTERACTIVE, ID, 0)).stored

    assert staged.work(staged.received(stored, receives=2)) == set()
    assert (len(runtime.asked), staged.file()) == (1, first)

    runtime.run()
    deliver(staged, *runtime.notices)
    assert staged.work(staged.received(stored, receives=3)) == set()
    assert len(runtime.asked) == 1


def test_a_duplicate_notice_commits_once(
    staged: Staged, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(staged, picture())
    deliver(staged, *runtime.notices)
    first, objects = staged.file(), staged.keys("out/")

    assert deliver(staged, *runtime.notices, *runtime.notices) == set()

    assert [each["state"] for each in lines(capsys)] == ["OK", "SETTLED", "SETTLED"]
    assert (staged.file(), staged.keys("out/")) == (first, objects)


def test_notices_of_several_files_may_arrive_in_any_order(staged: Staged, runtime: FakeRuntime) -> None:
    levels = [10, 120, 240]
    runtime.delayed = True
    submitted(staged, *(grey(level) for level in levels))
    runtime.run()

    deliver(staged, *reversed(runtime.notices))

    inputs = [json.loads(committed(staged, number)["result.json"])["input"]["sha256"] for number in range(3)]
    assert inputs == [hashlib.sha256(grey(level)).hexdigest() for level in levels]
    maps = {committed(staged, number)["map.npy"] for number in range(3)}
    assert len(maps) == 3


def test_the_last_notice_finishes_a_closed_batch(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, picture(1), picture(2))
    staged.aws.jobs.close(ID)
    deliver(staged, runtime.notices[0])
    assert staged.read().state is BatchState.RUNNING

    deliver(staged, runtime.notices[1])

    assert staged.read().state is BatchState.SUCCEEDED
    assert staged.keys(manifest_key(ID))


def test_an_image_that_the_endpoint_refuses_fails_with_the_endpoints_code(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, b"no image")

    assert deliver(staged, *runtime.notices) == set()

    outcome = staged.file().outcome
    assert (staged.file().state, outcome["code"]) == (FileState.FAILED, "input.unsupported")
    assert outcome["version"] == staged.aws.staging.look(upload_key(Lane.INTERACTIVE, ID, 0)).stored.version
    assert outcome["detail"]
    assert staged.keys("out/") == []


def test_an_image_that_the_endpoint_turns_away_is_submitted_again(staged: Staged, runtime: FakeRuntime) -> None:
    server: FastAPI = runtime.server.app  # type: ignore[assignment]
    server.state.server.admission.closed = True
    submitted(staged, picture())
    assert deliver(staged, *runtime.notices) == set()
    assert (staged.file().state, staged.file().outcome) == (FileState.PENDING, {})

    server.state.server.admission.closed = False
    swept(staged, after=GRACE_S + 60)  # sends its event again
    [sent] = staged.aws.clients.sqs.receive_message(QueueUrl=staged.aws.settings.interactive_queue_url)["Messages"]
    staged.work(staged.received(sent["Body"]))
    deliver(staged, *runtime.notices[1:])

    assert len(runtime.asked) == 2
    committed(staged)


def test_a_rejection_before_the_row_is_written_leaves_the_file_pending(staged: Staged, runtime: FakeRuntime) -> None:
    server: FastAPI = runtime.server.app  # type: ignore[assignment]
    server.state.server.admission.closed = True
    staged.batch(picture(), options=REMOTE)

    def died(*_: object) -> bool:
        raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "UpdateItem")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchTable, "submit", died)
        assert staged.work(staged.received(staged.put(picture()))) == {"m0"}

    assert deliver(staged, *runtime.notices) == set()
    assert staged.file().state is FileState.PENDING


def test_a_late_rejection_does_not_withdraw_another_attempt(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, picture())
    file = staged.file()

    assert not staged.aws.jobs.withdraw(replace(file, outcome=file.outcome | {"attempt": ATTEMPT}))
    assert staged.file().state is FileState.SUBMITTED
    deliver(staged, *runtime.notices)
    assert not staged.aws.jobs.withdraw(file)
    assert staged.file().state is FileState.OK


@pytest.mark.provokes("async.failed")
def test_a_failure_without_a_body_fails_the_file(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.broken = True
    submitted(staged, picture())

    deliver(staged, *runtime.notices)

    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "async.failed")


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"code": "x" * 1000},
        {"code": "in/secret Doe^Jane"},
        {"code": 7},
    ],
)
def test_a_failure_body_that_is_no_problem_document_is_not_quoted(
    staged: Staged, runtime: FakeRuntime, response: Json
) -> None:
    runtime.broken = True
    submitted(staged, picture())
    problem = {"type": "t", "title": "t", "status": 400, "detail": "d" * 5000, "request_id": "r"} | response
    place = staged.file().outcome["failure"].removeprefix(f"s3://{runtime.bucket}/")
    runtime.s3.put_object(Bucket=runtime.bucket, Key=place, Body=json.dumps(problem).encode())

    deliver(staged, *runtime.notices)

    assert staged.file().outcome["code"] == "async.failed"


def test_the_detail_of_a_failure_is_truncated_to_fit_a_row(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.broken = True
    submitted(staged, picture())
    problem = {"type": "t", "title": "t", "status": 400, "detail": "d" * 5000, "request_id": "r", "code": "input.new"}
    place = staged.file().outcome["failure"].removeprefix(f"s3://{runtime.bucket}/")
    runtime.s3.put_object(Bucket=runtime.bucket, Key=place, Body=json.dumps(problem).encode())

    deliver(staged, *runtime.notices)

    assert staged.file().outcome["code"] == "input.new"
    assert len(json.dumps(staged.file().outcome)) < 700


def test_a_failure_is_found_with_its_location_elsewhere_or_missing(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, b"no image", b"neither")
    beside, silent = runtime.notices
    beside["failureLocation"] = beside.pop("responseParameters")["failureLocation"]
    del silent["responseParameters"]

    deliver(staged, beside, silent)

    assert [staged.file(number).outcome["code"] for number in (0, 1)] == ["input.unsupported"] * 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer.update(map=None),
        lambda answer: answer.update(prediction=None),
        lambda answer: answer.update(heatmap_base64=None),
        lambda answer: answer.update(heatmap_base64="bm8gcG5n"),
        lambda answer: answer.update(media_type="image/jpeg"),
        lambda answer: answer["map"].update(shape=[8, 9]),
        lambda answer: answer["map"].update(shape=[0, 0], data_base64=""),
        lambda answer: answer["map"].update(data_base64="AADAfw==", shape=[1, 1]),
        lambda answer: answer["map"].update(data_base64="%"),
        lambda answer: answer.clear(),
    ],
)
def test_an_invalid_response_fails_the_file(
    staged: Staged, runtime: FakeRuntime, spoil: Callable[[Json], None]
) -> None:
    submitted(staged, picture())
    place = staged.file().outcome["output"].removeprefix(f"s3://{runtime.bucket}/")
    answer = json.loads(staged.object(place))
    spoil(answer)
    runtime.s3.put_object(Bucket=runtime.bucket, Key=place, Body=json.dumps(answer).encode())

    assert deliver(staged, *runtime.notices) == set()

    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "async.failed")
    assert staged.keys("out/") == []


def test_the_sweeper_finds_a_response_whose_notice_is_lost(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, picture())
    staged.aws.jobs.close(ID)

    swept(staged, after=LONG - 120)
    assert staged.file().state is FileState.SUBMITTED

    assert swept(staged, after=LONG) == {"swept": 1, "failed": 0}
    assert committed(staged)
    assert staged.read().state is BatchState.SUCCEEDED


def test_the_sweeper_finds_a_failure_whose_notice_is_lost(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, b"no image")
    assert runtime.notices

    swept(staged, after=LONG)

    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "input.unsupported")


def test_files_whose_notices_are_lost_are_counted_once(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, picture(), b"no image")
    late = int(time.time() + LONG)

    counts = advance(staged.context.account, ID, late)
    again = advance(staged.context.account, ID, late)

    assert (counts[ITEMS["OK"]], counts[ITEMS["FAILED"]]) == (1, 1)
    assert not {ITEMS["OK"], ITEMS["FAILED"]} & again.keys()
    assert deliver(staged, *runtime.notices) == set()


def test_a_file_without_any_response_fails_after_the_timeout(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.delayed = True
    submitted(staged, picture())

    swept(staged, after=LONG)

    outcome = staged.file().outcome
    assert (staged.file().state, outcome["code"]) == (FileState.FAILED, "async.failed")
    assert "in time" in outcome["detail"]
    runtime.run()
    assert deliver(staged, *runtime.notices) == set()
    assert staged.file().outcome == outcome


def test_files_that_the_endpoint_lost_are_counted_and_logged(
    staged: Staged, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.delayed = True
    submitted(staged, picture(), grey(9))
    capsys.readouterr()

    counts = advance(staged.context.account, ID, int(time.time() + LONG))

    assert counts[ITEMS["FAILED"]] == 2
    assert [(line["state"], line["code"], line["batch"], line["number"]) for line in lines(capsys)] == [
        ("FAILED", "async.failed", ID, number) for number in (0, 1)
    ]


def test_a_submitted_file_without_locations_fails_after_the_timeout(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.delayed = True
    submitted(staged, picture())
    noted = staged.file().outcome
    staged.aws.jobs._move_file(ID, 0, FileState.SUBMITTED, noted | {"output": "", "failure": ""}, allowed=FileState)

    assert swept(staged, after=LONG)["failed"] == 0

    assert staged.file().outcome["code"] == "async.failed"


def test_a_file_is_submitted_again_after_a_crash_before_its_row(
    staged: Staged, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture()
    staged.batch(data, options=REMOTE)
    stored = staged.put(data)

    def dies(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands for any method
        raise ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "UpdateItem")

    with monkeypatch.context() as patch:
        patch.setattr(BatchTable, "submit", dies)
        assert staged.work(staged.received(stored)) == {"m0"}
    assert staged.file().state is FileState.PENDING

    assert staged.work(staged.received(stored, receives=2)) == set()

    first, second = runtime.notices
    assert first["inferenceId"] != second["inferenceId"]
    assert first["inferenceId"] != f"{ID}.0.{staged.file().outcome['attempt']}"
    deliver(staged, first)
    assert staged.file().outcome["attempt"] == first["inferenceId"].rpartition(".")[2]
    settled = staged.file()
    assert committed(staged)
    deliver(staged, second)
    assert staged.file() == settled
    assert len(staged.keys("out/")) == 3


def test_a_failed_attempt_does_not_end_a_file_with_another_attempt(
    staged: Staged, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(staged, picture())
    asked = runtime.asked[0] | {"InferenceId": f"{ID}.0.{ATTEMPT}"}
    stale = notice(asked, f"s3://{runtime.bucket}/async/{ID}/00000/{ATTEMPT}/x", "text/plain", completed=False)

    deliver(staged, stale)
    assert staged.file().state is FileState.SUBMITTED
    assert lines(capsys)[-1]["state"] == "SETTLED"

    deliver(staged, *runtime.notices)
    assert committed(staged)


def test_a_notice_before_the_row_is_written_commits(
    staged: Staged, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = BatchTable.submit

    def slow(jobs: BatchTable, *arguments: Any) -> bool:  # noqa: ANN401 - hands on
        assert deliver(staged, *runtime.notices) == set()
        return submit(jobs, *arguments)

    monkeypatch.setattr(BatchTable, "submit", slow)
    submitted(staged, picture())

    assert committed(staged)


def test_a_cancelled_batch_ignores_late_responses(
    staged: Staged, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(staged, picture(1), picture(2))
    staged.aws.jobs.decide_end(ID, BatchState.CANCELLED, now=1)

    [first] = [each for each in runtime.notices if f"{ID}.0." in each["inferenceId"]]
    deliver(staged, first)  # decided, and not yet carried out
    assert staged.file(0).state is FileState.CANCELLED
    swept(staged)
    deliver(staged, *runtime.notices)

    assert [staged.file(number).state for number in (0, 1)] == ["CANCELLED", "CANCELLED"]
    assert staged.read().state is BatchState.CANCELLED
    assert staged.keys(f"out/{ID}/0") == []
    assert [each["state"] for each in lines(capsys)] == ["CANCELLED", "SETTLED", "SETTLED"]


def test_a_cancelled_batch_submits_nothing(staged: Staged, runtime: FakeRuntime) -> None:
    data = picture()
    staged.batch(data, options=REMOTE)
    staged.aws.jobs.decide_end(ID, BatchState.CANCELLED, now=1)

    staged.work(staged.received(staged.put(data)))

    assert runtime.asked == []
    assert staged.file().state is FileState.CANCELLED


@pytest.mark.parametrize(
    ("declared", "uploaded", "code"),
    [
        (picture(), picture(1), "input.digest"),
        (picture(), picture() + b"0", "input.digest"),
        (picture(), b"", "input.empty"),
    ],
)
def test_undeclared_bytes_are_never_submitted(
    staged: Staged, runtime: FakeRuntime, declared: bytes, uploaded: bytes, code: str
) -> None:
    staged.batch(declared, options=REMOTE)

    assert staged.work(staged.received(staged.put(uploaded))) == set()

    assert runtime.asked == []
    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, code)


def test_a_file_over_the_limit_is_never_submitted(staged: Staged, runtime: FakeRuntime) -> None:
    data = picture()
    limits = staged.context.limits.model_copy(update={"file_bytes": len(data) - 1})
    staged.context = replace(staged.context, limits=limits)

    submitted(staged, data)

    assert runtime.asked == []
    assert staged.file().outcome["code"] == "limit.file_bytes"


def test_a_sweeper_without_an_endpoint_waits_as_long(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.delayed = True
    submitted(staged, picture())
    staged.context = replace(staged.context, account=replace(staged.context.account, endpoint=None))

    swept(staged, after=LONG - 120)
    assert staged.file().state is FileState.SUBMITTED
    swept(staged, after=LONG)
    assert staged.file().state is FileState.FAILED


def test_the_object_is_not_read_when_s3_has_its_digest(
    staged: Staged, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account in memory returns no checksums; S3 returns those that the upload link has signed."""
    good, bad = picture(1), picture(2)
    digests = {
        upload_key(Lane.INTERACTIVE, ID, 0): hashlib.sha256(good).hexdigest(),
        upload_key(Lane.INTERACTIVE, ID, 1): hashlib.sha256(good).hexdigest(),
    }
    look = Staging.look

    def looked(staging: Staging, key: str) -> Any:  # noqa: ANN401 - hands on
        return replace(look(staging, key), sha256=digests.get(key))

    def unread(*_: object, **__: object) -> bytes:
        raise AssertionError("it was read")

    monkeypatch.setattr(Staging, "look", looked)
    monkeypatch.setattr(Staging, "read", unread)
    submitted(staged, good, bad)

    assert [staged.file(number).state for number in (0, 1)] == ["SUBMITTED", "FAILED"]
    assert staged.file(1).outcome["code"] == "input.digest"


@pytest.mark.parametrize("parts", ["", "-3"])
def test_a_multipart_checksum_is_not_used_as_digest(staged: Staged, parts: str) -> None:
    stored = staged.put(picture())

    class Says:
        def head_object(self, **asked: Any) -> Json:  # noqa: ANN401 - as boto3
            assert asked["ChecksumMode"] == "ENABLED"
            return {"ETag": '"e"', "ContentLength": 3, "VersionId": "null", "ChecksumSHA256": "AAAA" + parts}

    found = Staging(Says(), "b").look(stored.key)

    assert found.sha256 == (None if parts else "000000")
    assert found.stored.version is None


@pytest.mark.parametrize("known_by", ["version", "etag"])
def test_an_event_of_replaced_bytes_submits_nothing(staged: Staged, runtime: FakeRuntime, known_by: str) -> None:
    staged.batch(grey(200), options=REMOTE)
    first = staged.put(grey(200))
    staged.put(grey(10))
    spoken_of = first if known_by == "version" else replace(first, version=None)

    assert staged.work(staged.received(spoken_of)) == set()

    assert runtime.asked == []
    assert staged.file().state is FileState.PENDING


def test_a_response_to_bytes_replaced_after_the_check_fails_the_file(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.delayed = True
    submitted(staged, grey(200))
    staged.put(grey(10))  # what only an administrator can do
    runtime.run()

    deliver(staged, *runtime.notices)

    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "input.digest")
    assert staged.keys("out/") == []


@pytest.mark.parametrize(
    "place",
    [
        "s3://elsewhere/async/{folder}/x.out",
        "s3://{bucket}/out/{folder}/x.out",
        "s3://{bucket}-2/async/{folder}/x.out",
        "https://{bucket}/async/{folder}/x.out",
        "s3://{bucket}/async/" + f"{ID}/00001/{ATTEMPT}/x.out",
        "/async/{folder}/x.out",
        "",
        7,
        None,
    ],
)
def test_responses_outside_the_async_prefix_are_never_read(
    staged: Staged,
    runtime: FakeRuntime,
    place: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = picture()
    staged.batch(data, picture(1), options=REMOTE)
    staged.put(data)
    attempt = Attempt(ID, 0, ATTEMPT)  # of a worker that died: the row knows no place
    if isinstance(place, str):
        place = place.format(bucket=runtime.bucket, folder=attempt.folder)
    sent = json.loads((EVENTS / "sagemaker-completed.json").read_text())
    sent |= {"inferenceId": attempt.inference_id, "responseParameters": {"outputLocation": place}}

    def unread(*_: object, **__: object) -> bytes:
        raise AssertionError("it was read")

    monkeypatch.setattr(Staging, "read", unread)
    assert deliver(staged, sent) == set()

    assert staged.file().state is FileState.PENDING
    assert lines(capsys)[-1]["state"] == "FOREIGN"


def test_a_response_of_another_file_is_ignored(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, grey(10), grey(200))
    one, other = runtime.notices
    one["responseParameters"], other["responseParameters"] = other["responseParameters"], one["responseParameters"]

    assert deliver(staged, one, other) == set()

    assert [staged.file(number).state for number in (0, 1)] == ["SUBMITTED", "SUBMITTED"]
    swept(staged, after=LONG)
    assert committed(staged, 0)["map.npy"] != committed(staged, 1)["map.npy"]


def test_a_response_is_read_from_the_location_that_sagemaker_returned(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.root = ASYNC + "deeper/"
    submitted(staged, picture())

    deliver(staged, *runtime.notices)

    assert committed(staged)


def test_a_response_outside_its_batchs_folder_is_not_read(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.root = "out/"
    submitted(staged, picture())

    assert deliver(staged, *runtime.notices) == set()

    assert staged.file().state is FileState.SUBMITTED


HOSTILE: list[object] = [
    "",
    ID,
    f"{ID}.0",
    f"{ID}.0.{ATTEMPT}.1",
    f"{ID}.00.{ATTEMPT}",
    f"{ID}.+0.{ATTEMPT}",
    f"{ID}.-1.{ATTEMPT}",
    f"{ID}.100000.{ATTEMPT}",
    f"{ID}.\u0660.{ATTEMPT}",
    f"{ID}.0.{ATTEMPT}\n",
    f"{ID}.0.../../{ATTEMPT}",
    f"{ID.lower()}.0.{ATTEMPT}",
    f"../../../../../../../../../.0.{ATTEMPT}",
    f"{ID}.0.{'x' * 26}",
    "1d2071a5-65c5-40f8-ae06-f61367050695",
    None,
    7,
    [ID, 0, ATTEMPT],
    {},
]


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_a_foreign_inference_is_ignored(
    staged: Staged, runtime: FakeRuntime, name: object, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(staged, picture())
    before = staged.file()

    assert deliver(staged, runtime.notices[0] | {"inferenceId": name}) == set()

    assert Attempt.parse(name) is None
    assert lines(capsys)[-1]["state"] == "FOREIGN"
    assert staged.file() == before


@pytest.mark.parametrize("name", [f"{OTHER}.0.{ATTEMPT}", f"{ID}.7.{ATTEMPT}"])
def test_an_inference_of_a_missing_file_is_ignored(
    staged: Staged, runtime: FakeRuntime, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(staged, picture())

    assert deliver(staged, runtime.notices[0] | {"inferenceId": name}) == set()

    assert lines(capsys)[-1]["state"] == "FOREIGN"


@pytest.mark.parametrize("number", [0, 9, 99_999])
def test_an_inference_id_is_parsed_as_written(number: int) -> None:
    attempt = Attempt(ID, number, ATTEMPT)

    assert Attempt.parse(attempt.inference_id) == attempt
    assert len(attempt.inference_id) <= 64


def test_recorded_notices_are_read() -> None:
    completed = read_notice(json.loads((EVENTS / "sagemaker-completed.json").read_text()))
    failed = read_notice(json.loads((EVENTS / "sagemaker-failed.json").read_text()))

    assert completed is not None
    assert failed is not None
    assert (completed.attempt, completed.completed) == (Attempt(ID, 0, ATTEMPT), True)
    assert response_key(completed.location, "heatlens-staging") == f"async/{ID}/00000/{ATTEMPT}/f7cb97a2.out"
    assert (failed.attempt, failed.completed, failed.location) == (Attempt(ID, 0, ATTEMPT), False, "")
    assert read_notice({"eventSource": "aws:s3"}) is None


@pytest.mark.parametrize("message", ["no JSON", "[]", None])
def test_an_envelope_with_another_message_is_redelivered(staged: Staged, message: str | None) -> None:
    assert staged.work(staged.received(enveloped({}) | {"Message": message})) == {"m0"}


def test_a_temporary_error_redelivers_a_notice_until_the_last_delivery(
    staged: Staged, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(staged, picture())
    message = enveloped(runtime.notices[0])

    def throttled(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands for any method
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "in/secret"}}, "GetObject")

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "read", throttled)
        assert staged.work(staged.received(message, receives=4)) == {"m0"}
        assert staged.work(staged.received(message, receives=5)) == set()
    assert [each["state"] for each in lines(capsys)] == ["AGAIN", "AGAIN"]
    assert staged.file().state is FileState.SUBMITTED

    swept(staged, after=LONG)
    assert committed(staged)


def test_a_notice_without_time_left_is_sent_again(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, picture())

    assert staged.work(staged.received(enveloped(runtime.notices[0])), seconds=5) == set()
    assert staged.file().state is FileState.SUBMITTED
    assert staged.work({"Records": staged.waiting()}) == set()
    assert committed(staged)


def test_an_expired_response_is_superseded(
    staged: Staged, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(staged, picture())
    runtime.s3.delete_object(Bucket=runtime.bucket, Key=staged.keys(ASYNC)[0])

    assert deliver(staged, *runtime.notices) == set()

    assert lines(capsys)[-1]["state"] == "SUPERSEDED"
    swept(staged, after=LONG)
    assert staged.file().outcome["code"] == "async.failed"


def refusing(**_: object) -> Any:  # noqa: ANN401 - as boto3
    raise ClientError({"Error": {"Code": "ValidationError", "Message": "Endpoint x not found"}}, "InvokeEndpointAsync")


def test_a_missing_endpoint_fails_the_file_at_the_last_delivery(
    staged: Staged, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.invoke_endpoint_async = refusing  # type: ignore[method-assign]
    data = picture()
    staged.batch(data, options=REMOTE)
    stored = staged.put(data)

    assert staged.work(staged.received(stored)) == {"m0"}
    assert staged.file().state is FileState.PENDING
    assert "ClientError ValidationError" in lines(capsys, "item")[-1]["error"]

    assert staged.work(staged.received(stored, receives=5)) == set()
    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "batch.gave_up")


def test_a_function_without_an_endpoint_does_not_explain_the_file_itself(staged: Staged) -> None:
    data = picture()
    staged.batch(data, options=REMOTE)
    stored = staged.put(data)

    assert staged.work(staged.received(stored)) == {"m0"}
    assert staged.engine.sizes == []
    assert staged.work(staged.received(stored, receives=5)) == set()
    assert staged.file().outcome["code"] == "batch.gave_up"


def test_a_client_is_made_only_for_a_configured_endpoint(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", "b")
    monkeypatch.setenv("HEATLENS_TABLE", "t")
    assert open_account().endpoint is None

    monkeypatch.setenv("HEATLENS_ASYNC_ENDPOINT", "e")
    monkeypatch.setenv("HEATLENS_ASYNC_TTL_S", "60")
    account = open_account()
    assert account.endpoint is not None
    assert account.settings.async_ttl_s == 60


@pytest.mark.parametrize(
    ("name", "value"), [("TTL_S", "59"), ("TTL_S", "21601"), ("TIMEOUT_S", "0"), ("TIMEOUT_S", "3601")]
)
def test_rejects_times_that_sagemaker_does_not_accept(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HEATLENS_ASYNC_{name}", value)

    with pytest.raises(ValidationError):
        AwsSettings()


def test_lost_events_are_resent_for_pending_files_only(staged: Staged, runtime: FakeRuntime) -> None:
    runtime.delayed = True
    submitted(staged, picture(1))
    other = staged.batch(picture(2), number_of_batch=OTHER, options=REMOTE)
    staged.put(picture(2), key=upload_key(Lane.INTERACTIVE, other.id, 0))

    swept(staged, after=3600)

    sent = staged.aws.clients.sqs.receive_message(
        QueueUrl=staged.aws.settings.interactive_queue_url, MaxNumberOfMessages=10
    )
    assert [OTHER in each["Body"] for each in sent["Messages"]] == [True]


def test_a_sweep_handles_a_bounded_number_of_late_files(
    staged: Staged, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.batch.async_collect.LATE_FILES", 2)
    runtime.delayed = True
    submitted(staged, picture(1), picture(2), picture(3))

    swept(staged, after=LONG)
    assert sorted(staged.file(number).state for number in range(3)) == ["FAILED", "FAILED", "SUBMITTED"]
    swept(staged, after=LONG)
    assert staged.file(2).state is FileState.FAILED


def test_batches_of_the_default_backend_are_explained_by_the_function(staged: Staged, runtime: FakeRuntime) -> None:
    data = picture()
    staged.batch(data, options=LOCAL)

    staged.work(staged.received(staged.put(data)))

    assert runtime.asked == []
    assert staged.engine.sizes == [1]


def test_the_settings_of_the_call_are_the_accounts(staged: Staged, runtime: FakeRuntime) -> None:
    settings = staged.aws.settings.model_copy(update={"async_endpoint": "e", "async_timeout_s": 60, "async_ttl_s": 61})
    staged.context = replace(staged.context, account=connected(staged.context.account, runtime, settings))

    submitted(staged, picture())

    asked = runtime.asked[0]
    assert (asked["EndpointName"], asked["InvocationTimeoutSeconds"], asked["RequestTTLSeconds"]) == ("e", 60, 61)


@pytest.fixture
def make_api(aws: Account, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TestClient]:
    """A client of an API with staging; the keyword names its endpoint."""

    def make(endpoint: str = "") -> TestClient:
        monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
        monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
        monkeypatch.setenv("HEATLENS_ASYNC_ENDPOINT", endpoint)
        return make_client()

    return make


def test_a_client_chooses_the_backend_when_it_opens_a_batch(
    aws: Account, make_api: Callable[..., TestClient], staged: Staged
) -> None:
    api = make_api("e")

    chosen = api.post(URL, json={"expected_files": 1, "backend": "sagemaker", "colormap": "hot"})
    left = api.post(URL, json={"expected_files": 1, "backend": "lambda"})

    assert (chosen.status_code, left.status_code) == (201, 201)
    row = staged.read(chosen.json()["batch_id"])
    assert (row.options["backend"], row.options["colormap"]) == ("sagemaker", "hot")
    assert DeclaredFile(aws.jobs, row, 0).remote
    assert not DeclaredFile(aws.jobs, staged.read(left.json()["batch_id"]), 0).remote


def test_rejects_the_backend_without_an_endpoint(make_api: Callable[..., TestClient]) -> None:
    answer = make_api().post(URL, json={"expected_files": 1, "backend": "sagemaker"})

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "request.invalid")
    assert problem["errors"][0]["loc"] == ["body", "backend"]
    assert "no endpoint" in problem["detail"]


@pytest.mark.parametrize("wish", [{"expected_files": 1, "backend": "gpu"}, {"retry_of": ID, "backend": "lambda"}])
def test_rejects_unknown_backends(make_api: Callable[..., TestClient], wish: Json) -> None:
    assert make_api("e").post(URL, json=wish).status_code == 422


def test_a_retry_keeps_the_backend_and_needs_it(make_api: Callable[..., TestClient], staged: Staged) -> None:
    api = make_api("e")
    old = api.post(URL, json={"expected_files": 1, "backend": "sagemaker"}).json()["batch_id"]
    file = {"name": "a", "size": 1, "sha256": "0" * 64, "media_type": "image/png"}
    assert api.post(f"{URL}/{old}/files", json={"files": [file]}).status_code == 200
    assert api.post(f"{URL}/{old}/close").json()["state"] == "failed"

    again = api.post(URL, json={"retry_of": old})
    without = make_api().post(URL, json={"retry_of": old})

    assert staged.read(again.json()["batch_id"]).options["backend"] == "sagemaker"
    assert (without.status_code, without.json()["code"]) == (422, "request.invalid")


def purge(staged: Staged) -> None:
    account = staged.context.account
    api = BatchService(account.jobs, account.staging, account.settings)
    api.purge(api.find("me", ID))


def test_a_purge_erases_the_endpoints_responses(staged: Staged, runtime: FakeRuntime) -> None:
    submitted(staged, picture())
    deliver(staged, *runtime.notices)
    assert staged.keys(ASYNC)

    purge(staged)
    swept(staged)

    assert staged.keys("") == []


def test_a_response_collected_during_a_purge_is_erased(
    staged: Staged, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(staged, picture())
    write = Staging.write

    def purged_before(staging: Staging, key: str, data: bytes, media_type: str) -> str:
        monkeypatch.setattr(Staging, "write", write)
        purge(staged)
        return write(staging, key, data, media_type)

    monkeypatch.setattr(Staging, "write", purged_before)
    deliver(staged, *runtime.notices)
    swept(staged)

    assert staged.keys("out/") == []


def test_a_missing_bucket_ends_no_file(staged: Staged, runtime: FakeRuntime) -> None:
    staged.batch(picture(), options=REMOTE)
    stored = staged.put(picture())
    staged.aws.staging.erase("")
    staged.aws.clients.s3.delete_bucket(Bucket=staged.aws.settings.bucket)

    assert staged.work(staged.received(stored)) == {"m0"}
    assert runtime.notices == []

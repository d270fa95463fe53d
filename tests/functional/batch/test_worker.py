"""Every kind of delivery leads to at most one commit per object, and no object is lost."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from PIL import Image

from functions.batch import context as batch_context
from functions.batch import worker
from functions.batch.errors import TryAgain
from functions.batch.messages import distinct_items, parse_messages
from functions.batch.pace import Pace
from functions.batch.purge import erase_purged
from functions.batch.worker import work
from heatlens import pipeline
from heatlens.card import Cost
from heatlens.errors import TooSlow
from heatlens.model import Model
from heatlens.options import as_json
from heatlens.results import Explanation
from heatlens.settings import MIB
from heatlens.types import Options, Upload
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.metrics import BATCHES_SWEPT, BATCHES_UNSWEPT
from heatlens_aws.object_keys import Lane, attempt_prefix, drop_prefix, manifest_key, results_key, upload_key
from heatlens_aws.progress import recount
from heatlens_aws.records import BatchState, FileState
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_aws.staging import Absent, Staging, Stored
from infra.local_account import QUEUES
from tests.support.aws import ID, Account, purged
from tests.support.dicom import dicom
from tests.support.dicom_studies import radiograph
from tests.support.images import encoded
from tests.support.staged import NAME, Context, Staged, desk, grey, imported, picture

OTHER = "01J11111111111111111111111"
NOW = 2_000_000_000


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


def throttled(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands for any method
    raise ClientError({"Error": {"Code": "SlowDown", "Message": "in/secret"}}, "GetObject")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def limited(desk: Staged, **limits: int) -> Staged:
    desk.context = replace(desk.context, limits=desk.context.limits.model_copy(update=limits))
    return desk


@pytest.mark.contract("SQS", "digests")
def test_a_file_is_explained_and_its_objects_are_what_the_row_says(staged: Staged) -> None:
    data = picture()
    staged.batch(data)

    again = staged.work(staged.received(staged.put(data)))

    file = staged.file()
    prefix = attempt_prefix(ID, 0, file.outcome["attempt"])
    objects = {name: hashlib.sha256(staged.object(prefix + name)).hexdigest() for name in file.outcome["objects"]}
    assert (again, file.state) == (set(), FileState.OK)
    assert file.outcome["objects"] == objects
    assert sorted(objects) == ["map.npy", "overlay.png", "result.json"]
    assert staged.keys("out/") == [prefix + name for name in sorted(objects)]


@pytest.mark.contract("names", "provenance")
def test_the_result_has_its_provenance_and_never_the_file_name(
    staged: Staged, capsys: pytest.CaptureFixture[str]
) -> None:
    data = picture()
    staged.batch(data, options={"colormap": "hot", "alpha": 0.7, "include": ["overlay", "original"], "newer": 1})

    staged.work(staged.received(staged.put(data)))

    outcome = staged.file().outcome
    prefix = attempt_prefix(ID, 0, outcome["attempt"])
    result = json.loads(staged.object(prefix + "result.json"))
    signed_map = np.load(io.BytesIO(staged.object(prefix + "map.npy")), allow_pickle=False)
    card = staged.context.model.card
    assert result["input"] == {"sha256": hashlib.sha256(data).hexdigest()}
    unwritten = ("include", "dicom", "original", "strip_original")
    assert result["options"] == {n: v for n, v in as_json(Options("hot", 0.7)).items() if n not in unwritten}
    assert result["explained"] == {
        name: result["prediction"][name] for name in ("label", "index", "probability", "logit")
    } | {"contrast": None, "members": None}
    assert result["model"]["sha256"] == staged.context.model.sha256
    assert (result["model"]["engine"], result["model"]["precision"]) == ("counting", "f32")
    assert (result["prediction"]["label"], result["quality"]) == (outcome["label"], outcome["quality"])
    assert result["objects"] == {name: outcome["objects"][name] for name in ("map.npy", "overlay.png")}
    assert (signed_map.dtype, signed_map.shape) == (np.dtype("<f4"), card.layers[0].shape[1:])
    written = "".join(staged.object(key).decode("latin-1") + key for key in staged.keys("out/"))
    assert "Doe" not in written + capsys.readouterr().out


def test_the_result_says_what_was_assumed_to_read_the_file(staged: Staged) -> None:
    data = dicom(np.arange(600, dtype="<u2").reshape(20, 30), WindowCenter=40, WindowWidth=0)
    staged.batch(data)

    staged.work(staged.received(staged.put(data)))

    result = staged.object(attempt_prefix(ID, 0, staged.file().outcome["attempt"]) + "result.json")
    assert json.loads(result)["notes"] == ["The window of the file has no width and was ignored."]


@pytest.mark.parametrize(("form", "kind", "suffix"), [("jpeg", "JPEG", "jpg"), ("webp", "WEBP", "webp")])
def test_pictures_have_the_requested_format(staged: Staged, form: str, kind: str, suffix: str) -> None:
    data = encoded(Image.fromarray(np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)))
    options = {"colormap": "seismic", "alpha": 0.7, "format": form, "window": [300.0, 100.0]}
    staged.batch(data, options={**options, "include": ["heatmap", "overlay"]})

    staged.work(staged.received(staged.put(data)))

    outcome = staged.file().outcome
    prefix = attempt_prefix(ID, 0, outcome["attempt"])
    assert set(outcome["objects"]) == {"map.npy", f"map.{suffix}", f"overlay.{suffix}", "result.json"}
    for name in ("map", "overlay"):
        image = Image.open(io.BytesIO(staged.object(f"{prefix}{name}.{suffix}")))
        assert (image.format, image.size) == (kind, (32, 24))
    recorded = json.loads(staged.object(prefix + "result.json"))["options"]
    assert {name: recorded[name] for name in options} == options


def test_the_overlay_is_written_only_when_included(staged: Staged) -> None:
    data = picture()
    staged.batch(data, options={"include": ["map"]})

    staged.work(staged.received(staged.put(data)))

    assert sorted(staged.file().outcome["objects"]) == ["map.npy", "result.json"]
    assert len(staged.keys("out/")) == 2


def test_a_second_delivery_computes_and_changes_nothing(staged: Staged) -> None:
    data = picture()
    staged.batch(data)
    event = staged.received(staged.put(data))
    staged.work(event)
    first, objects = staged.file(), staged.keys("out/")

    assert staged.work(event) == set()

    assert staged.engine.sizes == [1]
    assert (staged.file(), staged.keys("out/")) == (first, objects)


def test_an_object_named_by_two_messages_is_explained_once(staged: Staged) -> None:
    data = picture()
    staged.batch(data)
    stored = staged.put(data)

    assert staged.work(staged.received(stored, stored)) == set()

    assert staged.engine.sizes == [1]
    assert len(staged.keys("out/")) == 3


def test_two_workers_on_one_file_commit_once(
    staged: Staged, tiny_model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = picture()
    staged.batch(data)
    event = staged.received(staged.put(data))
    slower, commit = desk(staged.aws, tiny_model), BatchTable.settle

    def late(jobs: BatchTable, *arguments: Any) -> bool:  # noqa: ANN401 - hands on
        monkeypatch.setattr(BatchTable, "settle", commit)
        assert staged.work(event) == set()
        return commit(jobs, *arguments)

    monkeypatch.setattr(BatchTable, "settle", late)
    assert slower.work(event) == set()

    states = [line["state"] for line in lines(capsys) if line.get("message") == "item"]
    assert (slower.engine.sizes, staged.engine.sizes) == ([1], [1])
    assert states == ["OK", "SETTLED"]
    assert len(staged.keys("out/")) == 6
    committed = attempt_prefix(ID, 0, staged.file().outcome["attempt"])
    objects = {name: hashlib.sha256(staged.object(committed + name)).hexdigest() for name in ("map.npy", "overlay.png")}
    assert objects.items() <= staged.file().outcome["objects"].items()


def test_the_next_sweep_erases_what_a_worker_wrote_while_the_batch_was_purged(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture()
    staged.batch(data)
    event, commit = staged.received(staged.put(data)), BatchTable.settle

    def after_a_purge(jobs: BatchTable, *arguments: Any) -> bool:  # noqa: ANN401 - hands on
        tombstone = purged(staged.aws, staged.read(), now=NOW)
        assert list(jobs.tombstones.erase_files(tombstone)) == [1]
        jobs.tombstones.erased(ID, NOW + 3600)
        return commit(jobs, *arguments)

    monkeypatch.setattr(BatchTable, "settle", after_a_purge)

    assert staged.work(event) == set()
    assert staged.keys("out/")
    assert erase_purged(staged.context.account, NOW, lambda: 100) == {BATCHES_SWEPT: 1, BATCHES_UNSWEPT: 0}
    assert staged.keys("") == []


def test_an_upload_after_a_purge_is_erased_by_the_next_sweep(staged: Staged) -> None:
    tombstone = purged(staged.aws, staged.batch(picture()), now=NOW)
    staged.aws.jobs.tombstones.erased(tombstone.id, NOW + 3600)

    assert staged.work(staged.received(staged.put(picture()))) == set()

    assert erase_purged(staged.context.account, NOW, lambda: 100) == {BATCHES_SWEPT: 1, BATCHES_UNSWEPT: 0}
    assert staged.keys("") == []


def test_the_events_version_is_explained_after_an_overwrite(staged: Staged) -> None:
    staged.batch(grey(200))
    stored = staged.put(grey(200))
    staged.put(grey(10))

    staged.work(staged.received(stored))

    assert staged.engine.seen == [200]
    assert (staged.file().state, staged.file().outcome["version"]) == (FileState.OK, stored.version)


@pytest.mark.parametrize("known_by", ["version", "etag"])
def test_a_superseded_event_ends_without_a_result(staged: Staged, known_by: str) -> None:
    staged.batch(grey(200))
    first = staged.put(grey(200))
    staged.put(grey(10))
    staged.aws.clients.s3.delete_object(Bucket=staged.aws.settings.bucket, Key=first.key, VersionId=first.version)
    stored = first if known_by == "version" else Stored(first.key, None, first.etag)

    assert staged.work(staged.received(stored)) == set()

    assert staged.engine.sizes == []
    assert staged.file().state is FileState.PENDING


def test_a_drop_not_yet_visible_is_explained_at_the_next_delivery(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = staged.put(picture(), key="drop/a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "read", absent)
        assert staged.work(staged.received(stored)) == {"m0"}

    assert staged.work(staged.received(stored, receives=2)) == set()

    assert len(staged.keys("out/drop/")) == 3


def test_the_error_of_a_failed_drop_is_written_to_the_bucket(staged: Staged) -> None:
    stored = staged.put(b"no image", key="drop/a.png")

    assert staged.work(staged.received(stored)) == set()

    [key] = staged.keys("out/drop/a.png/")
    data = staged.object(key)
    result = json.loads(data)
    assert key.endswith("/result.json")
    assert result["error"]["code"] == "input.unsupported"
    assert result["input"]["sha256"] == hashlib.sha256(b"no image").hexdigest()
    name = f"{staged.aws.settings.bucket}\n{stored.key}\n{stored.identity}"
    outcome = staged.aws.jobs.drop(hashlib.sha256(name.encode()).hexdigest())
    assert outcome is not None
    assert outcome["objects"] == {"result.json": hashlib.sha256(data).hexdigest()}


def test_the_last_delivery_fails_a_file_whose_batch_cannot_be_read(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()), receives=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchTable, "batch", throttled)
        assert staged.work(event) == set()

    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "batch.gave_up")


def test_a_missing_table_ends_no_file(staged: Staged) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()), receives=5)
    staged.aws.clients.dynamodb.delete_table(TableName=staged.aws.settings.table)

    assert staged.work(event) == {"m0"}


def test_a_worker_writes_nothing_for_a_batch_purged_while_it_explains(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()))
    explained = pipeline.explain

    def meanwhile(*arguments: Any, **limits: Any) -> Any:  # noqa: ANN401 - hands on
        purged(staged.aws, staged.read())
        return explained(*arguments, **limits)

    monkeypatch.setattr(worker, "explain", meanwhile)
    monkeypatch.setattr(Staging, "write", lambda *_: pytest.fail("it wrote for a purged batch"))

    assert staged.work(event) == set()
    assert staged.file().state is FileState.PENDING


def test_a_drop_that_is_gone_ends_at_its_second_delivery(staged: Staged) -> None:
    stored = staged.put(picture(), key="drop/a.png")
    staged.aws.staging.erase("drop/")

    assert staged.work(staged.received(stored)) == {"m0"}
    assert staged.work(staged.received(stored, receives=2)) == set()

    assert staged.keys("out/") == []


def absent(staging: Staging, stored: Stored, **_: object) -> bytes:
    raise Absent(stored.key)


@pytest.mark.parametrize(
    "key",
    [
        "in/whatever.png",
        f"in/i/{ID}/0",
        f"in/i/{ID}/00000/more",
        upload_key(Lane.INTERACTIVE, ID, 7),
        upload_key(Lane.INTERACTIVE, OTHER, 0),
    ],
    ids=["no batch", "short number", "longer", "undeclared number", "unknown batch"],
)
def test_undeclared_uploads_are_counted_and_never_explained(
    staged: Staged, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    staged.batch(picture())

    assert staged.work(staged.received(staged.put(picture(), key=key))) == set()

    assert staged.engine.sizes == []
    assert lines(capsys)[-1]["ItemsForeign"] == [1]
    assert staged.keys("out/") == []


def test_another_buckets_object_is_foreign(staged: Staged, capsys: pytest.CaptureFixture[str]) -> None:
    staged.batch(picture())
    stored = staged.put(picture())

    staged.work(staged.received({"Records": [staged.record(stored, bucket="another")]}))

    assert lines(capsys)[-1]["ItemsForeign"] == [1]
    assert staged.file().state is FileState.PENDING


@pytest.mark.parametrize("key", ["out/x.png", "reply/x.png", "drop/folder/", "elsewhere"])
def test_other_prefixes_are_ignored(staged: Staged, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert staged.work(staged.received(staged.put(picture(), key=key))) == set()

    assert staged.engine.sizes == []
    assert lines(capsys)[-1]["ItemsIgnored"] == [1]


def test_s3s_test_event_is_taken_off_the_queue(staged: Staged) -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": staged.aws.settings.bucket}

    assert staged.work(staged.received(event)) == set()


def test_an_unreadable_message_is_redelivered(staged: Staged) -> None:
    data = picture()
    staged.batch(data)

    assert staged.work(staged.received("no JSON", staged.put(data), {"Records": [1]})) == {"m0", "m2"}

    assert staged.file().state is FileState.OK


def test_one_bad_image_of_a_message_fails_alone(staged: Staged) -> None:
    files = [picture(1), b"no image", picture(2)]
    staged.batch(*files)
    records = [staged.record(staged.put(data, number)) for number, data in enumerate(files)]

    assert staged.work(staged.received({"Records": records})) == set()

    assert [staged.file(number).state for number in range(3)] == ["OK", "FAILED", "OK"]
    assert staged.file(1).outcome["code"] == "input.unsupported"
    assert staged.engine.sizes == [1, 1]  # what cannot be measured counts as the limit


@pytest.mark.provokes("input.digest")
@pytest.mark.parametrize(
    ("data", "uploaded", "code"),
    [
        (b"no image", None, "input.unsupported"),
        (picture()[:200], None, "input.unreadable"),
        (picture(), picture(1), "input.digest"),
        (picture(), picture() + b"0", "input.digest"),
        (picture(), b"", "input.empty"),
        (bytes(2 * MIB), None, "limit.file_bytes"),
        (grey(0, side=201), None, "limit.image_pixels"),
    ],
)
def test_a_malformed_image_is_committed_with_its_code(
    staged: Staged, data: bytes, uploaded: bytes | None, code: str
) -> None:
    limited(staged, file_bytes=MIB, image_pixels=200 * 200)
    staged.batch(data)

    assert staged.work(staged.received(staged.put(data if uploaded is None else uploaded))) == set()

    file = staged.file()
    assert (file.state, file.outcome["code"]) == (FileState.FAILED, code)
    assert file.outcome["detail"]
    assert NAME not in file.outcome["detail"]
    assert staged.keys("out/") == []


def test_an_image_of_the_largest_size_is_explained(staged: Staged) -> None:
    data = grey(0, side=200)
    limited(staged, file_bytes=len(data), body_bytes=1, image_pixels=200 * 200, request_pixels=200 * 200)
    staged.batch(data)

    staged.work(staged.received(staged.put(data)))

    assert staged.file().state is FileState.OK


def test_an_image_larger_than_any_group_fails_by_its_limit(staged: Staged) -> None:
    limited(staged, request_pixels=1599)
    staged.batch(grey(200))

    assert staged.work(staged.received(staged.put(grey(200)))) == set()

    assert staged.file().outcome["code"] == "limit.request_pixels"


def test_an_image_that_fails_in_the_engine_does_not_affect_others(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [grey(10), grey(66), grey(200)]
    staged.batch(*files)
    trunk = staged.engine.trunk

    def fussy(batch: Any) -> Any:  # noqa: ANN401 - hands on
        if any(round(float(image.mean()) * 255) == 66 for image in batch):
            raise RuntimeError("no such image")
        return trunk(batch)

    monkeypatch.setattr(staged.engine, "trunk", fussy)
    stored = [staged.put(data, number) for number, data in enumerate(files)]

    assert staged.work(staged.received(*stored)) == set()

    assert [staged.file(number).state for number in range(3)] == ["OK", "FAILED", "OK"]
    assert staged.file(1).outcome["code"] == "generation.failed"


BREAKS: list[tuple[type, str, Callable[..., Any]]] = [
    (Staging, "read", throttled),
    (Staging, "write", throttled),
    (BatchTable, "batch", throttled),
    (BatchTable, "file", throttled),
    (BatchTable, "settle", throttled),
]


@pytest.mark.parametrize(("owner", "method", "broken"), BREAKS, ids=[method for _, method, _ in BREAKS])
def test_a_temporary_error_redelivers_the_message_and_the_next_delivery_succeeds(
    staged: Staged,
    owner: type,
    method: str,
    broken: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = picture()
    staged.batch(data)
    stored = staged.put(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, broken)
        assert staged.work(staged.received(stored)) == {"m0"}

    assert staged.file().state is FileState.PENDING
    printed = capsys.readouterr().out
    assert "ClientError SlowDown" in printed
    assert "secret" not in printed
    assert staged.work(staged.received(stored, receives=2)) == set()
    assert staged.file().state is FileState.OK


@pytest.mark.parametrize("error", [MemoryError(), EndpointConnectionError(endpoint_url="https://x")])
def test_a_temporary_error_of_one_file_does_not_affect_others(
    staged: Staged, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    stored = [staged.put(data, number) for number, data in enumerate(files)]
    read = Staging.read

    def sometimes(staging: Staging, wanted: Stored, *, max_bytes: int) -> bytes:
        if wanted.key == stored[0].key:
            raise error
        return read(staging, wanted, max_bytes=max_bytes)

    monkeypatch.setattr(Staging, "read", sometimes)

    assert staged.work(staged.received(*stored)) == {"m0"}
    assert [staged.file(number).state for number in range(2)] == ["PENDING", "OK"]


def test_a_memory_error_while_decoding_redelivers_the_message(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture()
    staged.batch(data)

    def exhausted(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", exhausted)

    assert staged.work(staged.received(staged.put(data))) == {"m0"}
    assert staged.file().state is FileState.PENDING


@pytest.mark.parametrize(("receives", "seconds"), [(1, 10), (2, 20), (4, 80), (12, 900)])
def test_redelivery_is_delayed_longer_each_time(
    staged: Staged, receives: int, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, object]] = []
    monkeypatch.setattr(staged.aws.clients.sqs, "change_message_visibility", lambda **call: calls.append(call))
    monkeypatch.setattr(BatchTable, "batch", throttled)
    monkeypatch.setattr(BatchTable, "settle", throttled)

    staged.work(staged.received(staged.put(picture()), receives=receives))

    queue = staged.aws.settings.interactive_queue_url
    assert calls == [{"QueueUrl": queue, "ReceiptHandle": "receipt-m0", "VisibilityTimeout": seconds}]


def test_a_message_whose_delay_cannot_be_set_is_redelivered(staged: Staged) -> None:
    staged.batch(picture())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchTable, "batch", throttled)
        patch.setattr(staged.aws.clients.sqs, "change_message_visibility", throttled)
        assert staged.work(staged.received(staged.put(picture()))) == {"m0"}


def test_a_queue_hides_a_returned_message_and_redelivers_it(staged: Staged) -> None:
    data, settings, sqs = picture(), staged.aws.settings, staged.aws.clients.sqs
    staged.batch(data)
    body = json.dumps({"Records": [staged.record(staged.put(data))]})
    sqs.send_message(QueueUrl=settings.interactive_queue_url, MessageBody=body)
    [sent] = sqs.receive_message(QueueUrl=settings.interactive_queue_url, AttributeNames=["All"])["Messages"]
    record = {
        "messageId": sent["MessageId"],
        "receiptHandle": sent["ReceiptHandle"],
        "body": sent["Body"],
        "attributes": sent["Attributes"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{QUEUES[Lane.INTERACTIVE]}",
    }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("functions.batch.requeue.FIRST_DELAY_S", 0)
        patch.setattr(Staging, "read", throttled)
        assert staged.work({"Records": [record]}) == {sent["MessageId"]}

    # The queue's own 720 s would hide it still.
    [again] = sqs.receive_message(QueueUrl=settings.interactive_queue_url, AttributeNames=["All"])["Messages"]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"


def test_without_time_left_the_rest_is_sent_again_and_finished_work_committed(staged: Staged) -> None:
    files = [grey(level) for level in (10, 20, 30)]
    staged.batch(*files)
    stored = [staged.put(data, number) for number, data in enumerate(files)]
    remaining = iter([100.0, 100.0, 9.0, 9.0, 9.0])
    staged.context = replace(staged.context, batch_images=1)

    again = work(staged.context, parse_messages(staged.received(*stored)), lambda: next(remaining))

    assert again == set()
    assert staged.engine.seen == [10]
    assert [staged.file(number).state for number in range(3)] == ["OK", "PENDING", "PENDING"]
    assert len(staged.waiting()) == 2


def test_a_message_that_found_no_time_is_sent_again_with_its_history(staged: Staged) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()), receives=3)
    event["Records"][0]["attributes"]["SentTimestamp"] = "1700000000123"
    event["Records"][0]["messageAttributes"] = {"again": {"stringValue": "1", "dataType": "String"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("functions.batch.requeue.time.time", lambda: 1_700_000_500.0)
        assert staged.work(event, seconds=9) == set()

    [sent] = staged.waiting()
    values = {name: each["stringValue"] for name, each in sent["messageAttributes"].items()}
    assert sent["body"] == event["Records"][0]["body"]
    assert values == {"again": "1", "first_sent": "1700000000123", "failed": "2", "waited": "1"}
    assert sent["attributes"]["ApproximateReceiveCount"] == "1"


def test_a_lack_of_time_never_counts_and_failures_before_it_do(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()), receives=4)
    for _ in range(12):
        assert staged.work(event, seconds=9) == set()
        event = {"Records": staged.waiting()}

    monkeypatch.setattr(Staging, "read", throttled)
    assert staged.work(event) == {event["Records"][0]["messageId"]}
    assert staged.file().state is FileState.PENDING
    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = "2"  # four failures so far: the last delivery
    assert staged.work(event) == set()
    assert staged.file().outcome["code"] == "batch.gave_up"


def test_a_message_that_cannot_be_sent_again_is_redelivered(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.batch(picture())
    monkeypatch.setattr(staged.aws.clients.sqs, "send_message", throttled)

    assert staged.work(staged.received(staged.put(picture())), seconds=9) == {"m0"}


def test_a_message_that_has_waited_as_long_as_a_queue_keeps_messages_is_redelivered(staged: Staged) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()))
    event["Records"][0]["attributes"]["SentTimestamp"] = "1000000000000"

    assert staged.work(event, seconds=9) == {"m0"}
    assert staged.waiting() == []


def test_a_message_with_a_failure_and_an_object_without_time_is_redelivered(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged.batch(picture(1), picture(2))
    records = [staged.record(staged.put(picture(seed + 1), seed)) for seed in range(2)]
    remaining = iter([100.0, 100.0, 9.0])
    staged.context = replace(staged.context, batch_images=1)
    monkeypatch.setattr(Staging, "read", throttled)

    event = staged.received({"Records": records})
    assert work(staged.context, parse_messages(event), lambda: next(remaining, 9.0)) == {"m0"}
    assert staged.waiting() == []


def test_an_event_of_no_queue_that_found_no_time_is_to_be_sent_again_by_its_sender(staged: Staged) -> None:
    staged.batch(picture())
    event = {"Records": [staged.record(staged.put(picture()))]}

    with pytest.raises(TryAgain):
        staged.invoke(event, seconds=9)


def test_a_file_that_killed_as_often_as_it_may_is_given_up_without_another_try(staged: Staged) -> None:
    staged.batch(picture())
    event = staged.received(staged.put(picture()), receives=2)
    event["Records"][0]["messageAttributes"] = {"failed": {"stringValue": "4", "dataType": "Number"}}

    assert staged.work(event) == set()
    assert staged.engine.sizes == []
    assert (staged.file().state, staged.file().outcome["code"]) == (FileState.FAILED, "batch.gave_up")


def test_drops_fail_at_once_where_the_default_options_take_longer_than_a_function_has(staged: Staged) -> None:
    staged.batch(picture())
    dropped, declared = staged.put(picture(), key="drop/a.png"), staged.put(picture())
    staged.context = replace(staged.context, drops_refused=TooSlow("one image takes about 200 s"))

    assert staged.work(staged.received(dropped, declared)) == set()

    [key] = staged.keys("out/drop/a.png/")
    assert json.loads(staged.object(key))["error"]["code"] == "limit.time"
    assert staged.file().state is FileState.OK


def test_a_function_that_has_no_time_for_drops_says_so_at_start(
    tiny_model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = Cost(trunk_ms=60_000, tail_ms=60_000, golden_ms=1, batch=16)
    layer = tiny_model.card.layers[0].model_copy(update={"cost": cost})
    model = replace(tiny_model, card=tiny_model.card.model_copy(update={"layers": (layer,)}), slowdown=lambda: 1.0)

    refused = batch_context._drops_refused(model, STAGED_LIMITS, 120)

    [line] = lines(capsys)
    assert "takes about 120 s" in str(refused)
    assert (line["level"], "objects under drop/ will fail" in line["message"]) == ("ERROR", True)
    assert batch_context._drops_refused(model, STAGED_LIMITS, 180) is None


def test_the_first_group_of_a_process_is_one_image_and_the_next_are_as_many_as_fit(staged: Staged) -> None:
    levels = [10, 20, 30, 40, 50, 60, 70]
    staged.batch(*[grey(level) for level in levels])
    stored = [staged.put(grey(level), number) for number, level in enumerate(levels)]

    class Slow(Pace):
        def note(self, options: Options, seconds: float) -> None:
            super().note(options, 30)

    staged.context = replace(staged.context, pace=Slow())

    assert staged.work(staged.received(*stored), seconds=110) == set()
    assert staged.engine.sizes == [1, 3, 3]


@pytest.mark.provokes("batch.gave_up")
@pytest.mark.parametrize("receives", [4, 5, 6])
def test_a_file_is_given_up_at_the_last_delivery_only(
    staged: Staged, receives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture()
    staged.batch(data)
    monkeypatch.setattr(Staging, "read", throttled)

    again = staged.work(staged.received(staged.put(data), receives=receives))

    file, last = staged.file(), receives >= staged.aws.settings.max_receives
    assert again == (set() if last else {"m0"})
    assert file.state is (FileState.FAILED if last else FileState.PENDING)
    assert file.outcome.get("code") == ("batch.gave_up" if last else None)


def test_a_file_that_cannot_be_given_up_ends_in_the_dead_letter_queue(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged.batch(picture())
    monkeypatch.setattr(BatchTable, "settle", throttled)

    assert staged.work(staged.received(staged.put(picture()), receives=5)) == {"m0"}


def test_suspects_run_after_all_others_and_each_alone(staged: Staged) -> None:
    levels = [10, 20, 30, 40, 50, 60]
    staged.batch(*[grey(level) for level in levels])
    stored = [staged.put(grey(level), number) for number, level in enumerate(levels)]
    event = staged.received(*stored)
    for index in (0, 2, 3):
        event["Records"][index]["attributes"]["ApproximateReceiveCount"] = "2"
    event["Records"][1]["messageAttributes"] = {"again": {"stringValue": "1", "dataType": "String"}}

    staged.work(event)

    assert staged.engine.sizes == [2, 1, 1, 1, 1]
    assert staged.engine.seen[:2] == [50, 60]
    assert sorted(staged.engine.seen[2:]) == [10, 20, 30, 40]


def test_a_file_that_kills_the_process_does_not_affect_others(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [10, 20, 30, 40, 50, 60, 70, 80]
    staged.batch(*[grey(level) for level in levels])
    stored = [staged.put(grey(level), number) for number, level in enumerate(levels)]
    trunk = staged.engine.trunk

    def killing(batch: Any) -> Any:  # noqa: ANN401 - hands on
        if any(round(float(image.mean()) * 255) == 40 for image in batch):
            raise KeyboardInterrupt  # nothing catches it, as nothing catches a kill
        return trunk(batch)

    monkeypatch.setattr(staged.engine, "trunk", killing)
    for receives in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            staged.work(staged.received(*stored, receives=receives))
    received = staged.received(*stored, receives=3)
    kills = 0
    while received["Records"]:  # each invocation runs one of them and sends the others back
        try:
            staged.work(received)
        except KeyboardInterrupt:
            kills += 1
        received = {"Records": staged.waiting()}

    assert kills == 1
    states = [staged.file(number).state for number in range(len(levels))]
    assert states == ["OK", "OK", "OK", "PENDING", "OK", "OK", "OK", "OK"]


def test_suspects_reverse_their_order_at_each_delivery_and_come_last(staged: Staged) -> None:
    stored = [Stored(upload_key(Lane.INTERACTIVE, ID, number), f"v{number}") for number in range(6)]

    def order(*receives: int) -> list[str]:
        event = staged.received(*stored)
        for record, count in zip(event["Records"], receives, strict=True):
            record["attributes"]["ApproximateReceiveCount"] = str(count)
        return [item.created.stored.key for item in distinct_items(parse_messages(event))]

    second, third = order(*[2] * 6), order(*[3] * 6)
    assert sorted(second) == sorted(third) == [each.key for each in stored]
    assert second == third[::-1]
    assert order(4, 1, 3, 1, 3, 2)[-1] == stored[0].key
    assert order(*[1] * 6) == [each.key for each in stored]


def test_each_group_is_committed_before_the_next_is_read(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [grey(level) for level in (10, 20, 30)]
    staged.batch(*files)
    stored = [staged.put(data, number) for number, data in enumerate(files)]
    staged.context = replace(staged.context, batch_images=2)
    done: list[str] = []
    for owner, method in ((Staging, "read"), (BatchTable, "settle")):
        original = getattr(owner, method)

        def noted(*arguments: Any, _do: Any = original, _name: str = method, **more: Any) -> Any:  # noqa: ANN401
            done.append(_name)
            return _do(*arguments, **more)

        monkeypatch.setattr(owner, method, noted)

    staged.work(staged.received(*stored))

    assert done == ["read", "read", "settle", "settle", "read", "settle"]


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [({"request_pixels": 2 * 1600}, [2, 1]), ({"request_pixels": 1600}, [1, 1, 1]), ({"body_bytes": 2 * 87}, [2, 1])],
)
def test_a_group_is_bounded_in_pixels_and_bytes(staged: Staged, limits: dict[str, int], sizes: list[int]) -> None:
    files = [grey(level) for level in (110, 120, 130)]
    assert {len(data) for data in files} == {87}
    staged.batch(*files)
    limited(staged, image_pixels=1600, **limits)
    records = [staged.record(staged.put(data, number), len(data)) for number, data in enumerate(files)]

    staged.work(staged.received({"Records": records}))

    assert staged.engine.sizes == sizes
    assert recount(staged.aws.jobs, staged.read()).counts == {FileState.OK: 3}


def test_files_with_different_options_are_in_different_groups(staged: Staged) -> None:
    data = picture()
    staged.batch(data, data, options={"colormap": "hot"})
    staged.batch(data, number_of_batch=OTHER, options={"colormap": "viridis"})
    events = [staged.put(data), staged.put(data, key=upload_key(Lane.INTERACTIVE, OTHER, 0)), staged.put(data, 1)]

    staged.work(staged.received(*events))

    assert staged.engine.sizes == [2, 1]
    first, other = (
        staged.object(attempt_prefix(batch, 0, staged.file(0, batch).outcome["attempt"]) + "overlay.png")
        for batch in (ID, OTHER)
    )
    assert first != other


@pytest.mark.contract("no original")
def test_including_the_original_makes_no_separate_group(staged: Staged) -> None:
    staged.batch(picture(), options={"include": ["overlay", "original"]})
    staged.batch(picture(), number_of_batch=OTHER, options={"include": ["overlay"]})

    staged.work(
        staged.received(staged.put(picture()), staged.put(picture(), key=upload_key(Lane.INTERACTIVE, OTHER, 0)))
    )

    assert staged.engine.sizes == [2]


def test_a_batch_is_read_once_and_again_before_each_result_is_written(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [picture(seed) for seed in range(3)]
    staged.batch(*files)
    stored = [staged.put(data, number) for number, data in enumerate(files)]
    reads: list[str] = []
    read = BatchTable.batch
    monkeypatch.setattr(BatchTable, "batch", lambda jobs, name: reads.append(name) or read(jobs, name))  # type: ignore[func-returns-value]

    staged.work(staged.received(*stored))

    assert reads == [ID] * (1 + len(files))  # each time before a write, whether it was purged meanwhile


@pytest.mark.parametrize(
    ("ending", "state", "code"),
    [(BatchState.CANCELLED, FileState.CANCELLED, None), (BatchState.EXPIRED, FileState.FAILED, "batch.deadline")],
)
def test_a_batch_with_a_decided_end_is_not_explained(
    staged: Staged, ending: BatchState, state: FileState, code: str | None
) -> None:
    data = picture()
    staged.batch(data)
    staged.aws.jobs.decide_end(ID, ending, now=staged.read().deadline)

    assert staged.work(staged.received(staged.put(data))) == set()

    assert staged.engine.sizes == []
    assert (staged.file().state, staged.file().outcome.get("code")) == (state, code)
    assert staged.read().state is ending


def test_the_last_result_of_a_closed_batch_finishes_it(staged: Staged) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    stored = [staged.put(data, number) for number, data in enumerate(files)]
    staged.aws.jobs.close(ID)

    staged.work(staged.received(stored[0]))
    assert staged.read().state is BatchState.RUNNING
    staged.work(staged.received(stored[1]))

    assert staged.read().state is BatchState.SUCCEEDED
    assert staged.keys(results_key(ID)) + staged.keys(manifest_key(ID)) == [results_key(ID), manifest_key(ID)]


def test_an_error_while_finishing_redelivers_no_message(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture()
    staged.batch(data)
    staged.aws.jobs.close(ID)
    monkeypatch.setattr(Staging, "write_once", throttled)

    assert staged.work(staged.received(staged.put(data))) == set()

    assert (staged.file().state, staged.read().state) == (FileState.OK, BatchState.RUNNING)


@pytest.mark.contract("drop")
@pytest.mark.parametrize(
    "key", ["drop/a.png", "drop/ward 3/Zoë + 50%.png", "drop/a%2Fb", "drop/" + "長" * 330], ids=range(4)
)
def test_a_dropped_object_is_explained_and_its_result_is_found_by_its_key(staged: Staged, key: str) -> None:
    data = picture()
    stored = staged.put(data, key=key)

    assert staged.work(staged.received(stored)) == set()
    assert staged.work(staged.received(stored)) == set()

    assert staged.engine.sizes == [1]
    assert stored.version
    identity = hashlib.sha256(f"{staged.aws.settings.bucket}\n{key}\n{stored.version}".encode()).hexdigest()
    outcome = staged.aws.jobs.drop(identity)
    assert outcome
    prefix = drop_prefix(key, stored.version, outcome["attempt"])
    assert outcome["state"] == "OK"
    assert staged.keys("out/") == [prefix + name for name in ("map.npy", "overlay.png", "result.json")]


def test_a_new_version_of_a_dropped_object_is_explained_too(staged: Staged) -> None:
    for level in (10, 20):
        staged.work(staged.received(staged.put(grey(level), key="drop/a.png")))

    assert staged.engine.seen == [10, 20]
    assert len(staged.keys("out/drop/a.png/")) == 6


def test_a_dropped_object_that_is_no_image_fails_once(staged: Staged, capsys: pytest.CaptureFixture[str]) -> None:
    event = staged.received(staged.put(b"no image", key="drop/Doe.txt"))

    assert staged.work(event) == set()
    assert staged.work(event) == set()

    printed = lines(capsys)
    assert [line["state"] for line in printed if line.get("message") == "item"] == ["FAILED", "SETTLED"]
    assert "Doe" not in json.dumps(printed)


@pytest.mark.contract("names")
def test_every_item_is_logged_without_its_name(staged: Staged, capsys: pytest.CaptureFixture[str]) -> None:
    data = picture()
    staged.batch(data, b"no image")
    staged.work(staged.received(staged.put(data), staged.put(b"no image", 1)))

    printed = lines(capsys)

    good, bad, metrics = printed
    assert (good["batch"], good["number"], good["state"]) == (ID, 0, "OK")
    assert good["attempt"] == staged.file().outcome["attempt"]
    assert (bad["number"], bad["state"], bad["code"]) == (1, "FAILED", "input.unsupported")
    assert good["ms"] >= 0
    assert (metrics["ItemsOk"], metrics["ItemsFailed"]) == ([1], [1])
    assert (metrics["service"], metrics["function"]) == ("heatlens", "batch")
    assert [set(names) for names in metrics["_aws"]["CloudWatchMetrics"][0]["Dimensions"]] == [
        {"service", "function", "stack"}
    ]


def event_bridge(staged: Staged, stored: Stored) -> dict[str, Any]:
    thing = {"key": stored.key, "version-id": stored.version, "etag": (stored.etag or "").strip('"'), "size": 1}
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": staged.aws.settings.bucket}, "object": thing, "reason": "PutObject"},
    }


def direct(staged: Staged, stored: Stored) -> dict[str, Any]:
    return {"Records": [staged.record(stored)]}


@pytest.mark.contract("S3")
@pytest.mark.parametrize("wrap", [event_bridge, direct])
def test_an_event_without_a_queue_raises_when_an_object_is_not_done(
    staged: Staged, wrap: Callable[[Staged, Stored], dict[str, Any]]
) -> None:
    data = picture()
    staged.batch(data)
    event = wrap(staged, staged.put(data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "read", throttled)
        with pytest.raises(TryAgain):
            staged.invoke(event)
    assert staged.invoke(event) is None

    assert staged.file().state is FileState.OK


@pytest.mark.contract("EventBridge")
def test_an_event_bridge_event_through_a_queue(staged: Staged) -> None:
    data = picture()
    staged.batch(data)

    staged.work(staged.received(event_bridge(staged, staged.put(data))))

    assert staged.file().state is FileState.OK


def test_the_response_names_the_messages_to_redeliver(staged: Staged) -> None:
    data = picture()
    staged.batch(data)
    event = staged.received(staged.put(data), "no JSON")

    assert staged.invoke(event) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert staged.invoke(staged.received(staged.put(data))) == {"batchItemFailures": []}
    late = staged.invoke(staged.received(staged.put(data, key="drop/a")), seconds=5)
    assert (late, len(staged.waiting())) == ({"batchItemFailures": []}, 1)


def test_the_handler_opens_its_context_at_import(
    staged: Staged, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture()
    staged.batch(data)
    monkeypatch.setenv("HEATLENS_MODEL_DIR", str(tiny_folder))
    monkeypatch.setenv("HEATLENS_BUCKET", staged.aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", staged.aws.settings.table)
    handler = imported("functions.batch.handler").handler

    assert handler(staged.received(staged.put(data)), Context()) == {"batchItemFailures": []}

    assert staged.file().state is FileState.OK


def test_a_ping_that_keeps_the_worker_warm_is_no_error(staged: Staged) -> None:
    event = {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}

    assert staged.invoke(event) is None


def test_invocations_share_nothing(staged: Staged) -> None:
    files = [picture(1), picture(2)]
    staged.batch(*files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "read", throttled)
        assert staged.work(staged.received(staged.put(files[0]))) == {"m0"}

    assert staged.work(staged.received(staged.put(files[1], 1))) == set()


OBJECTS = {"include": ["map"], "dicom": ["sc", "seg", "sr"]}


@pytest.mark.contract("DICOM objects", "digests")
def test_dicom_objects_lie_beside_the_map_and_are_those_of_the_core(
    staged: Staged, capsys: pytest.CaptureFixture[str]
) -> None:
    data = radiograph()
    staged.batch(data, options=OBJECTS)

    staged.work(staged.received(staged.put(data)))

    outcome = staged.file().outcome
    prefix = attempt_prefix(ID, 0, outcome["attempt"])
    options = Options(include=frozenset({"map"}), dicom=("sc", "seg", "sr"))
    [explained] = pipeline.explain(
        staged.context.models[None], [Upload("", data)], options, limits=STAGED_LIMITS, batch_images=1
    )
    assert isinstance(explained, Explanation)
    written = {f"heatmap.{each.kind}.dcm": each.data for each in explained.dicom}
    assert set(outcome["objects"]) == {"map.npy", "result.json", *written}
    assert {name: staged.object(prefix + name) for name in written} == written
    assert json.loads(staged.object(prefix + "result.json"))["objects"] == {
        name: outcome["objects"][name] for name in (*written, "map.npy")
    }
    beside = "".join(staged.object(prefix + name).decode("latin-1") for name in ("map.npy", "result.json"))
    for value in ("Doe", "P-17", "A-9", "1.2.826.0.1", "2.25."):
        assert value not in beside + "".join(staged.keys("")) + capsys.readouterr().out


def test_a_file_that_is_no_dicom_fails_alone_in_a_batch_of_objects(staged: Staged) -> None:
    files = [picture(), radiograph()]
    staged.batch(*files, options=OBJECTS | {"dicom": ["pm", "seg"]})
    staged.work(staged.received(*(staged.put(data, number) for number, data in enumerate(files))))
    assert [staged.file(number).state for number in (0, 1)] == [FileState.FAILED, FileState.FAILED]
    assert [staged.file(number).outcome["code"] for number in (0, 1)] == ["input.dicom", "input.dicom"]
    assert staged.keys("out/") == []

    staged.batch(*files, number_of_batch=OTHER, options=OBJECTS)
    keys = [upload_key(Lane.INTERACTIVE, OTHER, number) for number in (0, 1)]
    staged.work(staged.received(*(staged.put(data, key=key) for key, data in zip(keys, files, strict=True))))

    assert [staged.file(number, OTHER).state for number in (0, 1)] == [FileState.FAILED, FileState.OK]
    assert staged.file(0, OTHER).outcome["detail"].startswith("DICOM objects are written for DICOM sources")


def test_a_purge_erases_the_objects_too(staged: Staged) -> None:
    data = radiograph()
    staged.batch(data, options=OBJECTS)
    staged.work(staged.received(staged.put(data)))
    assert any(key.endswith("heatmap.sc.dcm") for key in staged.keys("out/"))

    purged(staged.aws, staged.read(), now=NOW)

    assert erase_purged(staged.context.account, NOW, lambda: 100) == {BATCHES_SWEPT: 1, BATCHES_UNSWEPT: 0}
    assert staged.keys("") == []

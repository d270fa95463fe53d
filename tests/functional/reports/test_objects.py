"""Objects that are no images, messages of wrong types, and a storage that never answers harm nothing else."""

import json
import socket
import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.batch.messages import parse_messages
from heatlens.model import Model
from heatlens_aws.clients import TRIES, try_seconds
from heatlens_aws.events import NotAnEvent, created_objects
from heatlens_aws.settings import AwsSettings
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.support.aws import Account
from tests.support.staged import Staged, desk, picture

MARKERS = ["drop/a/", "drop/a_$folder$", "drop/.DS_Store", "drop/a/._scan.png", "drop/a/Thumbs.db", "drop/desktop.ini"]
WRONG: list[Any] = [None, True, -1, 1.5, "x", [], {}, [[]], {"name": 1}]


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


@pytest.mark.parametrize("key", MARKERS)
def test_what_marks_a_folder_or_a_system_leaves_behind_is_ignored(
    key: str,
    staged: Staged,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert staged.work(staged.received(staged.put(b"", key=key))) == set()

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ItemsIgnored"] == [1]
    assert staged.keys("out/") == []


@pytest.mark.parametrize(("key", "data"), [("drop/empty", b""), ("drop/notes.txt", b"hello"), ("drop/a.csv", b"1,2")])
def test_an_object_that_is_no_image_fails_at_its_first_delivery(
    key: str,
    data: bytes,
    staged: Staged,
) -> None:
    assert staged.work(staged.received(staged.put(data, key=key))) == set()

    [written] = staged.keys("out/drop/")
    assert json.loads(staged.object(written))["error"]["code"].startswith("input.")


@pytest.mark.parametrize(
    ("key", "suffixes", "ignored"),
    [
        ("drop/notes.txt", ".png,.dcm", True),
        ("drop/a/SCAN.PNG", ".png,.dcm", False),
        ("drop/scan", ".png", True),
        ("drop/scan", "", False),
    ],
)
def test_other_suffixes_than_those_of_the_setting_are_ignored(key: str, suffixes: str, *, ignored: bool) -> None:
    from functions.batch.destinations import is_drop

    assert is_drop(key, AwsSettings(drop_suffixes=suffixes).suffixes_of_drops) is not ignored


@pytest.mark.parametrize("suffixes", ["png", ".png;.dcm", ".png, .dcm", ".png,"])
def test_a_list_of_suffixes_that_would_match_nothing_is_refused(suffixes: str) -> None:
    with pytest.raises(ValueError, match="drop_suffixes"):
        AwsSettings(drop_suffixes=suffixes)


def test_an_object_that_is_gone_before_its_event_is_tried_once_more(
    staged: Staged,
) -> None:
    stored = staged.put(picture(), key="drop/a.png")
    staged.aws.staging.erase("drop/")

    assert len(staged.work(staged.received(stored))) == 1
    assert staged.work(staged.received(stored, receives=2)) == set()


def sqs(*records: object) -> dict[str, Any]:
    return {"Records": list(records)}


def message(number: int, body: object = None, **fields: object) -> dict[str, Any]:
    entity = {"bucket": {"name": "b"}, "object": {"key": "in/a"}}
    event = {"Records": [{"eventName": "ObjectCreated:Put", "s3": entity}]}
    return {
        "messageId": str(number),
        "receiptHandle": f"receipt {number}",
        "body": json.dumps(event if body is None else body),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    } | fields


@pytest.mark.parametrize("field", ["receiptHandle", "body", "attributes", "messageAttributes"])
@pytest.mark.parametrize("value", [1, [], [1], {"ApproximateReceiveCount": "many"}, {"ApproximateReceiveCount": 0}])
def test_a_record_with_a_value_of_a_wrong_type_fails_alone(field: str, value: object) -> None:
    if field == "messageAttributes" and isinstance(value, dict):
        value = "text"

    bad, good = parse_messages(sqs(message(1, **{field: value}), message(2)))

    assert (bad.id, bad.objects) == ("1", None)
    assert (good.id, len(good.objects or ())) == ("2", 1)


@pytest.mark.parametrize("record", [1, None, [], {}, {"messageId": 7}, {"messageId": ""}])
def test_a_record_without_an_id_does_not_affect_the_others(record: object) -> None:
    assert [each.id for each in parse_messages(sqs(record, message(2), record))] == ["2"]


@pytest.mark.parametrize("place", ["Records", "s3", "bucket", "name", "object", "key", "versionId", "eTag", "size"])
@pytest.mark.parametrize("value", WRONG, ids=str)
def test_an_s3_event_of_wrong_types_is_read_or_refused(place: str, value: object) -> None:
    thing: dict[str, Any] = {"key": "in/a", "versionId": "v", "eTag": "e", "size": 1}
    entity: dict[str, Any] = {"bucket": {"name": "b"}, "object": thing}
    record: dict[str, Any] = {"eventName": "ObjectCreated:Put", "s3": entity}
    event: dict[str, Any] = {"Records": [record]}
    for holder in (event, record, entity, entity["bucket"], thing):
        if place in holder:
            holder[place] = value
    body = parse_messages(sqs(message(1, event), message(2)))

    assert body[1].objects is not None
    for created in body[0].objects or ():
        assert isinstance(created.stored.key, str)
        assert created.size is None or (isinstance(created.size, int) and created.size >= 0)
        assert isinstance(created.stored.identity, str)


@pytest.mark.parametrize("value", WRONG, ids=str)
@pytest.mark.parametrize("place", ["key", "version-id", "etag", "size"])
def test_an_eventbridge_event_of_wrong_types_is_read_or_refused(place: str, value: object) -> None:
    thing = {"key": "in/a", "etag": "e", "size": 1} | {place: value}
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "b"}, "object": thing},
    }
    try:
        [created] = created_objects(event)
    except NotAnEvent:
        return
    assert isinstance(created.stored.identity, str)
    assert created.size is None or created.size >= 0


@pytest.mark.parametrize("event", [1, "text", [], None])
def test_an_event_that_is_no_object_is_refused_by_name(event: Any) -> None:  # noqa: ANN401 - of any kind
    with pytest.raises(NotAnEvent, match="known are S3 events"):
        parse_messages(event)


def test_the_tries_of_a_call_and_their_pauses_fit_its_time() -> None:
    for call_s in (1, 24, 60):
        longest_pauses = 1 + 2 if call_s >= 24 else call_s / 8
        assert TRIES * sum(try_seconds(call_s)) + longest_pauses <= call_s
    assert AwsSettings().aws_call_s < 30, "the gateway's own limit"


def test_a_storage_that_accepts_and_never_answers_ends_the_request(
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: Any,  # noqa: ANN401 - a path
) -> None:
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def accept() -> None:
            while True:
                try:
                    accepted.append(silent.accept()[0])
                except OSError:
                    return

        listener = threading.Thread(target=accept, daemon=True)
        listener.start()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "HEATLENS_BUCKET": "bucket",
            "HEATLENS_TABLE": "table",
            "HEATLENS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HEATLENS_AWS_CALL_S": "1",
        }.items():
            monkeypatch.setenv(name, value)
        app = create_app(ServerSettings(model_dir=tiny_folder), deployment="server")
        with TestClient(app, raise_server_exceptions=False) as client:
            answer = client.post("/api/inference/batches", json={"expected_files": 1})
        silent.shutdown(socket.SHUT_RDWR)
        listener.join(timeout=30)
    for connection in accepted:
        connection.close()

    assert answer.status_code == 503
    assert answer.json()["detail"] == "the storage of staged batches does not answer: try again"
    assert "retry-after" in answer.headers
    assert len(accepted) == TRIES

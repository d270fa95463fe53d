"""The bucket's own message of an upload has its key, version and size."""

import json

import pytest

from heatlens_aws.events import Created, created_objects, parse_body
from heatlens_aws.staging import Stored
from tests.staging.poller import Poller
from tests.support.staged import Staged

KEYS = [
    "drop/scan.png",
    "drop/ward 3/two  spaces.png",
    "drop/a+b&c=d%20e%2Fg.png",
    "drop/Zoë/長い名前.png",
    "drop/ß \u0065\u0301 (1)'*!~@,;:$.png",
]


def test_the_test_event_is_taken_off_the_queue_and_does_nothing(
    staged: Staged, poller: Poller, capsys: pytest.CaptureFixture[str]
) -> None:
    arrived = [json.loads(message["Body"]) for message in poller.receive(VisibilityTimeout=0)]
    assert {event["Event"] for event in arrived} == {"s3:TestEvent"}

    assert poller.turn() == []

    assert poller.held() == 0
    assert all(json.loads(line).get("message") != "item" for line in capsys.readouterr().out.splitlines())
    assert staged.keys("") == []


def test_every_key_arrives_unchanged(staged: Staged, bulk: Poller) -> None:
    bulk.turn()
    sent = {key: staged.put(key.encode(), key=key) for key in KEYS}

    arrived: list[Created] = []
    while messages := bulk.receive():
        arrived += [each for message in messages for each in created_objects(parse_body(message["Body"]))]

    bucket = staged.aws.settings.bucket
    assert {each.stored.key: each for each in arrived} == {
        key: Created(bucket, Stored(key, stored.version, stored.etag), len(key.encode()))
        for key, stored in sent.items()
    }
    assert len(arrived) == len(KEYS)


def test_results_and_other_prefixes_send_no_event(staged: Staged, poller: Poller) -> None:
    poller.turn()
    for key in ("out/a.png", "other/drop/a.png", "dropped.png", "reply/1"):
        staged.put(b"1", key=key)

    assert poller.receive() == []


def test_a_copied_object_is_processed(staged: Staged, poller: Poller) -> None:
    poller.turn()
    source = staged.put(b"1", key="out/a")
    staged.aws.staging.copy(source, "in/i/a")

    [message] = poller.receive()
    assert json.loads(message["Body"])["Records"][0]["eventName"] == "ObjectCreated:Copy"
    [created] = created_objects(parse_body(message["Body"]))
    assert created.stored == next(staged.aws.staging.uploaded("in/"))

"""Events of every kind are read by the functions that they are made for."""

import base64
import json
from pathlib import Path

import pytest

from functions.batch.messages import parse_messages
from heatlens.errors import InvalidOption
from heatlens_aws.staging import Stored
from heatlens_cli.events.http_events import KINDS, LambdaContext, answer_json
from heatlens_cli.events.make_event import EVENT_KINDS, make_event
from heatlens_cli.events.object_events import OBJECT_KINDS
from tests.support.paths import SAMPLES

JPEG = SAMPLES / "phantom-03-opacity.jpg"


@pytest.mark.parametrize("kind", KINDS)
def test_the_api_answers_a_request(kind: str) -> None:
    from functions.api.handler import handler

    event = make_event(JPEG, kind, query="include=map", bucket="unused")

    answer = handler(json.loads(json.dumps(event)), LambdaContext())

    body = answer_json(answer)
    assert answer["statusCode"] == 200
    assert (body["filename"], body["heatmap_base64"]) == (JPEG.name, None)


@pytest.mark.parametrize("kind", OBJECT_KINDS)
@pytest.mark.parametrize("name", ["scan.png", "a scan+b.png", "größe & 100%.png"])
def test_the_worker_reads_the_object_from_the_event(kind: str, name: str, tmp_path: Path) -> None:
    image = tmp_path / name
    image.write_bytes(b"bytes")

    event = make_event(image, kind, query="", bucket="scans")

    [message] = parse_messages(json.loads(json.dumps(event)))
    assert message.objects is not None
    [created] = message.objects
    assert (created.bucket, created.size) == ("scans", 5)
    assert created.stored == Stored(f"drop/{name}", None, '"4b3a6218bb3e3a7303e8a171a60fcf92"')


def test_a_json_body_holds_the_image() -> None:
    body = make_event(JPEG, "json", query="", bucket="")

    assert base64.b64decode(body["image_base64"]) == JPEG.read_bytes()


def test_rejects_an_unknown_kind_and_lists_the_known_ones() -> None:
    with pytest.raises(InvalidOption) as refused:
        make_event(JPEG, "kafka", query="", bucket="")

    assert all(kind in str(refused.value) for kind in EVENT_KINDS)

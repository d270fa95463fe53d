"""Names, bodies, links, queries and keys that clients send appear in no log, metric or trace, whatever happens."""

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from botocore.exceptions import ClientError
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from functions.batch.sweep import sweep
from functions.endpoint.app import create_app as create_endpoint
from heatlens.model import Model
from heatlens_cli.events.http_events import KINDS, HttpRequest, heatmap_request
from heatlens_cli.main import app as cli
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.support.aws import Account
from tests.support.dicom import dataset, written
from tests.support.images import encoded, noise
from tests.support.paths import ROOT
from tests.support.private import PLANTED, Net, leaks, log_lines
from tests.support.staged import Staged, desk, picture

NAME = f"{PLANTED}.png"


def dicom_of_a_patient() -> bytes:
    made = dataset(np.arange(64, dtype="u1").reshape(8, 8))
    made.PatientName, made.PatientID = f"{PLANTED}^A", PLANTED
    return written(made)


def photo_with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = PLANTED  # its description
    return encoded(noise((16, 16)), "JPEG", exif=exif)


PNG = encoded(noise((8, 8)))
JSON = {"content-type": "application/json"}
BODIES = {
    "png": PNG,
    "dicom": dicom_of_a_patient(),
    "broken dicom": dicom_of_a_patient()[:-20],
    "exif": photo_with_exif(),
    "broken jpeg": photo_with_exif()[:-200],
    "no image": PLANTED.encode(),
    "empty": b"",
}
HEADERS = {
    "authorization": f"Bearer {PLANTED}",
    "x-api-key": PLANTED,
    "cookie": PLANTED,
    "x-amz-security-token": PLANTED,
    "referer": f"https://b.s3.amazonaws.com/k?X-Amz-Signature={PLANTED}",
}


def requests() -> Iterator[HttpRequest]:
    """Requests of every kind of body, and every kind of mistake."""
    for data in BODIES.values():
        yield heatmap_request(NAME, data, query=f"target={PLANTED}")
        yield heatmap_request(NAME, data, query="")
    good = heatmap_request(NAME, PNG, query="")
    yield HttpRequest(f"/api/inference/{PLANTED}", f"a={PLANTED}", "POST", good.headers, good.body)
    yield HttpRequest("/api/inference/heatmap", f"{PLANTED}=1", "PATCH", good.headers, good.body)
    yield HttpRequest(f"/api/inference/batches/{PLANTED}", "", "GET")
    text = json.dumps({"image_base64": base64.b64encode(PNG).decode(), "filename": NAME, PLANTED: 1}).encode()
    yield HttpRequest("/api/inference/heatmap", headers=JSON, body=text)
    yield HttpRequest("/api/inference/predict", headers={"content-type": f"text/{PLANTED}"}, body=text)
    yield HttpRequest("/api/inference/predict", headers=JSON, body=b'{"' + PLANTED.encode())


PROGRAM = """
import json, sys
from functions.api.handler import app, handler
class Context:
    function_name, memory_limit_in_mb, aws_request_id = "api", 3008, "lambda-1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:api"
    def get_remaining_time_in_millis(self):
        return 20_000
events = json.load(sys.stdin)
for event in events:
    handler(event, Context())
def broken(*_, **__):
    raise KeyError(sys.argv[1])
import heatlens_web.deliver, heatlens.pipeline
for module, name in [
    (heatlens.pipeline, "preprocess"), (heatlens.pipeline, "attribute"), (heatlens.pipeline, "draw"),
    (heatlens_web.deliver, "_json"),
]:
    kept = getattr(module, name)
    setattr(module, name, broken)
    for event in events[5:9]:
        handler(event, Context())
    setattr(module, name, kept)
"""


@pytest.fixture(scope="module")
def function_output() -> str:
    """What the API function writes about events of every kind, and about failures inside of it."""
    events = [wrap(request) for request in requests() for wrap in KINDS.values()]
    for event in events:
        event.get("headers", {}).update(HEADERS)
    environ = {"AWS_LAMBDA_FUNCTION_NAME": "api", "HEATLENS_STACK": "s", "AWS_REGION": "us-east-1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, PLANTED],
        input=json.dumps(events),
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_the_function_behind_a_gateway_writes_none_for_events_of_any_kind(function_output: str) -> None:
    lines = [json.loads(line) for line in function_output.splitlines()]
    statuses = {line["status"] for line in lines if "status" in line}

    assert {200, 400, 404, 405, 415, 422, 500} <= statuses
    assert any("exception" in line for line in lines)
    assert any("_aws" in line for line in lines)
    assert [line for line in function_output.splitlines() if leaks(line)] == []


@pytest.fixture
def net() -> Iterator[Net]:
    root, ours, net = logging.getLogger(), logging.getLogger("heatlens"), Net()
    root.addHandler(net)
    level = ours.level
    ours.setLevel(logging.INFO)
    yield net
    root.removeHandler(net)
    ours.setLevel(level)


def plain(settings: ServerSettings) -> tuple[FastAPI, str]:
    return create_app(settings, deployment="server"), "/api/inference/heatmap"


def endpoint(settings: ServerSettings) -> tuple[FastAPI, str]:
    return create_endpoint(settings), "/invocations"


@pytest.mark.parametrize("make", [plain, endpoint])
def test_the_servers_write_none_for_any_body_or_failure(
    make: Callable[[ServerSettings], tuple[FastAPI, str]],
    tiny_folder: Path,
    net: Net,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app, path = make(ServerSettings(model_dir=tiny_folder))
    client = TestClient(app, raise_server_exceptions=False)
    attributes = {"x-amzn-sagemaker-custom-attributes": f"target={PLANTED}"}
    statuses = []
    for data in BODIES.values():
        for headers, query in ((HEADERS, ""), (HEADERS | attributes, ""), (HEADERS, f"?target={PLANTED}")):
            files = {"file": (NAME, data)}
            statuses.append(client.post(f"{path}{query}", files=files, headers=headers).status_code)
    for stage in ("heatlens.pipeline.attribute", "heatlens.pipeline.draw", "heatlens_web.deliver._json"):
        with patch(stage, side_effect=KeyError(PLANTED)):
            statuses.append(client.post(path, files={"file": (NAME, PNG)}, headers=HEADERS).status_code)
    statuses.append(client.get(f"/{PLANTED}", headers=HEADERS).status_code)

    assert {200, 400, 404, 422, 500} <= set(statuses)
    output = capsys.readouterr()
    written = [*net.lines, *output.out.splitlines(), *output.err.splitlines(), client.get("/metrics").text]
    assert any("exception" in line for line in net.lines)
    assert [line for line in written if leaks(line)] == []


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    return desk(aws, tiny_model)


def unavailable(*_: object, **__: object) -> None:
    raise ClientError({"Error": {"Code": "InternalError", "Message": PLANTED}}, PLANTED)


def test_the_batch_function_writes_none(staged: Staged, net: Net, capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tests.support.staged.NAME", NAME):
        staged.batch(*BODIES.values())
    for number, data in enumerate(BODIES.values()):
        staged.invoke(staged.received(staged.put(data, number)))
    for data in BODIES.values():
        staged.invoke(staged.received(staged.put(data, key=f"drop/{PLANTED}/{NAME}")))
    staged.invoke(staged.received(staged.put(PNG, key=f"in/{PLANTED}"), staged.put(PNG, key=f"other/{PLANTED}")))
    staged.invoke(staged.received(PLANTED, json.dumps({PLANTED: 1}), json.dumps({"Records": [{PLANTED: 1}]})))
    with patch.object(type(staged.aws.staging), "read", unavailable):
        staged.invoke(staged.received(staged.put(picture(), key=f"drop/{NAME}")))
        staged.invoke(staged.received(staged.put(picture(1), key=f"drop/{NAME}"), receives=5))
    with patch.object(type(staged.aws.jobs), "batch", unavailable):
        staged.invoke(staged.received(staged.put(picture(2))))

    output = capsys.readouterr()
    lines = log_lines(output.out)
    assert len(lines) > 20
    assert [line for line in [*lines, *output.err.splitlines(), *net.lines] if leaks(line)] == []


def test_the_sweeper_writes_none(staged: Staged, net: Net, capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tests.support.staged.NAME", NAME):
        staged.batch(PNG)
    with patch.object(type(staged.aws.jobs), "batch", unavailable):
        assert sweep(staged.context.account, 2_000_000_000, lambda: 100)["failed"] == 1
    sweep(staged.context.account, 5_000_000_000, lambda: 100)

    output = capsys.readouterr()
    assert "BatchesUnswept" in output.out
    assert [line for line in [*output.out.splitlines(), *output.err.splitlines(), *net.lines] if leaks(line)] == []


def test_the_staged_batch_api_writes_none(
    aws: Account, tiny_model: Model, net: Net, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    client = TestClient(create_app(ServerSettings(), deployment="server"), raise_server_exceptions=False)
    base = "/api/inference/batches"
    batch = client.post(base, json={"expected_files": 2}, headers=HEADERS).json()["batch_id"]
    digest = "0" * 64
    declared = {"files": [{"name": NAME, "size": 1, "sha256": digest, "media_type": "image/png"}]}
    assert "X-Amz-Signature" in client.post(f"{base}/{batch}/files", json=declared, headers=HEADERS).text
    client.post(f"{base}/{batch}/files", json=declared | {PLANTED: 1})
    client.post(f"{base}/{batch}/files/links?start={PLANTED}")
    client.get(f"{base}/{batch}/results?{PLANTED}=1")
    with patch.object(type(aws.jobs), "batch", unavailable):
        assert client.get(f"{base}/{batch}").status_code == 503
    with patch.object(type(aws.jobs), "batch", side_effect=KeyError(PLANTED)):
        assert client.get(f"{base}/{batch}").status_code == 500
    client.delete(f"{base}/{batch}?purge=true")

    output = capsys.readouterr()
    written = [*net.lines, *log_lines(output.out), *output.err.splitlines(), client.get("/metrics").text]
    assert any(batch in line for line in net.lines)
    assert [line for line in written if leaks(line)] == []


def test_commands_log_none(net: Net, tmp_path: Path) -> None:
    for number, data in enumerate(BODIES.values()):
        (tmp_path / f"{number}-{NAME}").write_bytes(data)

    CliRunner().invoke(cli, ["dev", "invoke", *map(str, tmp_path.iterdir()), "--out", str(tmp_path / "out")])

    assert [line for line in net.lines if leaks(line)] == []

"""One image, the same response from every entry point: the conformance images, sent to each."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from heatlens.card import read_card
from heatlens.settings import DEMO_MODEL
from heatlens_cli.events.http_events import KINDS, LambdaContext, answer_json, heatmap_request, http_api_v2
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.contract.clients import Client, http_client, lambda_client
from tests.contract.conformance import images
from tests.events import record
from tests.support.paths import SAMPLES

FOLDER = Path(__file__).parent / "conformance"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())
QUERY = "include=overlay,original,map"
ENTRY_POINTS = [*KINDS, "server"]
PICTURES = sorted(path for path in SAMPLES.iterdir() if path.suffix != ".json")


@pytest.fixture(scope="module")
def clients(server_port: int) -> dict[str, Client]:
    from functions.api.handler import handler

    behind_lambda = {kind: lambda_client(handler, wrap) for kind, wrap in KINDS.items()}
    return behind_lambda | {"server": http_client(server_port)}


def products(answer: bytes) -> dict[str, Any]:
    """Return what must be equal everywhere: all but the request id and the times."""
    body: dict[str, Any] = json.loads(answer)
    return {k: v for k, v in body.items() if k not in {"request_id", "processing_time_ms", "timings_ms"}}


def test_every_image_has_a_case_and_is_what_its_script_makes() -> None:
    made = images.files()

    assert [case["file"] for case in CASES] == list(made)
    for name, data in made.items():
        stored = (FOLDER / name).read_bytes()
        assert len(stored) == len(data)
        if name.endswith(("8.png", "1.png", "bomb.png", ".dcm")):
            assert stored == data


@pytest.mark.contract("original", "PNG")
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_the_expected_response(clients: dict[str, Client], entry_point: str, case: dict[str, Any]) -> None:
    data = (FOLDER / case["file"]).read_bytes()

    answer = clients[entry_point](heatmap_request(case["file"], data, query=QUERY))

    body = json.loads(answer.body)
    assert answer.status == case["status"], body
    if case["status"] != 200:
        assert body["code"] == case["code"]
        assert answer.headers["content-type"] == "application/problem+json"
        return
    assert [body["width"], body["height"]] == case["size"]
    assert body["original_media_type"] == case["original"]
    original = base64.b64decode(body["original_image_base64"])
    assert (original == data) == case["verbatim"]
    assert list(Image.open(io.BytesIO(base64.b64decode(body["heatmap_base64"]))).size) == case["size"]


ANSWERED = [case for case in CASES if case["status"] == 200]


@pytest.mark.contract("same bytes", "uvicorn")
@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case["file"])
def test_every_entry_point_returns_the_same_bytes(clients: dict[str, Client], case: dict[str, Any]) -> None:
    request = heatmap_request(case["file"], (FOLDER / case["file"]).read_bytes(), query=QUERY)

    answers = [products(clients[entry_point](request).body) for entry_point in ENTRY_POINTS]

    assert all(answer == answers[0] for answer in answers)


@pytest.fixture(scope="module")
def engines() -> list[TestClient]:
    """Clients of two engines, which differ in the last bits as two processors do."""
    settings = [ServerSettings.model_validate({"engine": engine}) for engine in ("openvino", "onnxruntime")]
    return [TestClient(create_app(each, deployment="server")) for each in settings]


def overlay(body: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body["heatmap_base64"])))).astype(np.int64)


@pytest.mark.contract("elsewhere")
@pytest.mark.parametrize("file", [*(FOLDER / case["file"] for case in ANSWERED), *PICTURES], ids=lambda file: file.name)
def test_engines_differ_by_at_most_one_level(engines: list[TestClient], file: Path) -> None:
    """Grays of neighboring levels of heat differ by one or two, jet's colors by up to five; 0.4 of them is blended."""
    kind = {"content-type": "image/any"}
    for colormap, apart in {"gray": 1, "jet": 2}.items():
        url = f"/api/inference/heatmap?include=overlay&colormap={colormap}"
        one, other = (each.post(url, content=file.read_bytes(), headers=kind).json() for each in engines)

        assert one["prediction"]["label"] == other["prediction"]["label"]
        assert [one["model"]["engine"], other["model"]["engine"]] == ["openvino", "onnxruntime"]
        difference = np.abs(overlay(one) - overlay(other))
        assert difference.max() <= apart
        assert (difference > 1).mean() < 1e-4


@pytest.mark.contract("HTTP API", "REST API", "ALB", "function URL", "VPC Lattice")
@pytest.mark.parametrize("kind", list(KINDS))
def test_recorded_events_get_the_servers_response(clients: dict[str, Client], kind: str) -> None:
    from functions.api.handler import handler

    event = json.loads((Path(record.__file__).parent / f"{kind}.json").read_text())
    recorded = lambda_client(handler, lambda _: event)(record.request())

    served = clients["server"](record.request())

    assert recorded.status == 200
    assert products(recorded.body) == products(served.body)
    assert products(recorded.body)["map"]["shape"] == list(read_card(DEMO_MODEL)[0].layers[0].shape[1:])


def test_the_response_has_lambdas_request_id() -> None:
    from functions.api.handler import handler

    context = LambdaContext(aws_request_id="the-id")
    for event in (http_api_v2(record.request()), http_api_v2(replace(record.request(), body=b"--"))):
        answer = handler(event, context)
        assert answer["headers"]["x-request-id"] == "the-id"
        assert answer_json(answer)["request_id"] == "the-id"


def test_a_problem_is_text_for_a_gateway_without_binary_types() -> None:
    from functions.api.handler import handler

    request = heatmap_request("empty.png", b"")
    answer = handler(KINDS["rest-api-v1"](request), LambdaContext())

    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"])["code"] == "input.empty"


@pytest.mark.contract("accept")
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_entry_point_returns_a_png(clients: dict[str, Client], entry_point: str) -> None:
    request = record.request()
    request.headers["accept"] = "image/png"

    answer = clients[entry_point](request)

    plain = products(clients["server"](record.request()).body)
    assert answer.headers["content-type"] == "image/png"
    assert answer.body == base64.b64decode(plain["heatmap_base64"])


SAMPLE_LIST: list[dict[str, Any]] = json.loads((SAMPLES / "samples.json").read_text())["samples"]


@pytest.mark.parametrize("sample", SAMPLE_LIST, ids=lambda sample: sample["file"])
def test_samples_are_classified_and_the_heat_lies_on_the_opacity(
    clients: dict[str, Client], sample: dict[str, Any]
) -> None:
    data = (SAMPLES / sample["file"]).read_bytes()

    body = json.loads(clients["server"](heatmap_request(sample["file"], data, query="include=map")).body)

    assert body["prediction"]["label"] == sample["label"]
    if sample["box"] is None:
        return
    column, row = hottest(body)
    left, top, right, bottom = sample["box"]
    assert left <= column <= right
    assert top <= row <= bottom


def hottest(body: dict[str, Any]) -> tuple[float, float]:
    """Return the center of the map's highest cell, in pixels of the original."""
    height, width = body["map"]["shape"]
    cells = memoryview(base64.b64decode(body["map"]["data_base64"])).cast("f")
    row, column = divmod(max(range(len(cells)), key=cells.__getitem__), width)
    return (column + 0.5) * body["width"] / width, (row + 0.5) * body["height"] / height

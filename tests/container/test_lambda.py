"""The handlers of the functions under Lambda's emulator, with the limits of Lambda."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heatlens.settings import DEMO_MODEL
from heatlens_cli.events.http_events import KINDS, answer_body, answer_json, heatmap_request
from tests.container.conftest import Fact
from tests.container.docker import Container, docker, function
from tests.contract.clients import http_client
from tests.contract.test_conformance import CASES, FOLDER, QUERY, products

API = "functions.api.handler.handler"
INIT = re.compile(r"INIT REPORT\(durationMs: ([0-9.]+)\)")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def api(image: str) -> Iterator[Container]:
    with function(image, API) as made:
        yield made


def events(kind: str) -> list[Json]:
    """Build an event for each conformance image."""
    requests = [heatmap_request(case["file"], (FOLDER / case["file"]).read_bytes(), query=QUERY) for case in CASES]
    return [KINDS[kind](request) for request in requests]


def comparable(answer: bytes) -> Json:
    """Return an explanation, or a problem's code: its detail may name a limit of the deployment."""
    body = products(answer)
    if "code" in body:
        return {"code": body["code"]}
    return body | {"model": {name: each for name, each in body["model"].items() if name != "image"}}


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_gets_the_same_answer_as_from_the_plain_server(api: Container, server_port: int, kind: str) -> None:
    answers = api.invoke(events(kind))

    for case, answer in zip(CASES, answers, strict=True):
        data = (FOLDER / case["file"]).read_bytes()
        served = http_client(server_port)(heatmap_request(case["file"], data, query=QUERY))
        assert answer["statusCode"] == served.status == case["status"]
        assert comparable(answer_body(answer)) == comparable(served.body), case["file"]


def test_the_init_phase_takes_less_than_ten_seconds(api: Container, fact: Fact) -> None:
    api.invoke(events("http-api-v2")[:1])

    [milliseconds] = INIT.findall(api.logs)
    fact(f"init phase of the api function under the emulator: {float(milliseconds):,.0f} ms")
    assert float(milliseconds) < 10_000


def test_an_unusable_model_is_reported_and_requests_get_503(image: str, tmp_path: Path) -> None:
    altered = tmp_path / "model"
    altered.mkdir(mode=0o755)
    for path in DEMO_MODEL.iterdir():
        (altered / path.name).write_bytes(path.read_bytes() + (b" " if path.suffix == ".onnx" else b""))

    for options, words in (
        (("--volume", f"{altered}:/opt/model:ro"), "sha256 differs"),
        (("-e", "HEATLENS_MODEL_DIR=/nowhere"), "no readable card.json"),
        (("-e", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128"), "the model needs about"),
    ):
        with function(image, API, *options) as made:
            health = KINDS["http-api-v2"](heatmap_request("", b""))
            health["rawPath"], health["requestContext"]["http"] = (
                "/api/inference/health",
                {
                    **health["requestContext"]["http"],
                    "method": "GET",
                    "path": "/api/inference/health",
                },
            )
            reported, refused = made.invoke([health, events("http-api-v2")[0]])

        assert answer_json(reported)["status"] == "unhealthy"
        assert words in answer_json(reported)["reason"]
        assert refused["statusCode"] == 503
        assert answer_json(refused)["code"] == "model.unavailable"
        assert "retry-after" in refused["headers"]


@pytest.mark.parametrize("handler", ["functions.batch.handler.handler", "functions.batch.sweeper.handler"])
def test_a_batch_function_without_a_bucket_fails_at_init_with_one_line(image: str, handler: str) -> None:
    with function(image, handler) as made:
        with pytest.raises(AssertionError, match="502"):
            made.invoke([{"Records": []}])
        log = made.logs

    # Lambda tries twice to start a function.
    lines = [line for line in log.splitlines() if "the function cannot start" in line]
    assert 1 <= len(lines) <= 2, log
    assert all("HEATLENS_BUCKET" in line for line in lines)
    assert "Traceback" not in log


def test_answers_name_the_digest_of_the_image(api: Container, image: str) -> None:
    digest = docker("run", "--rm", "--entrypoint", "cat", image, "/opt/heatlens/digest").strip()

    [answer] = api.invoke(events("http-api-v2")[:1])

    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert answer_json(answer)["model"]["image"] == digest


def test_an_overlay_is_returned_as_png_bytes(api: Container, sample_jpeg: bytes) -> None:
    request = heatmap_request("scan.jpg", sample_jpeg)
    request.headers["accept"] = "image/png"

    [answer] = api.invoke([KINDS["http-api-v2"](request)])

    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]).startswith(b"\x89PNG")

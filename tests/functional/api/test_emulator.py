"""The handler under Lambda's own runtime client and emulator, as the function runs in the cloud."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from heatlens_cli.events.http_events import HttpRequest, answer_json, heatmap_request, http_api_v2
from tests.support.emulator import Emulator, emulated


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "AWS_LAMBDA_FUNCTION_TIMEOUT": "30"}
    with emulated("functions.api.handler.handler", tmp_path_factory.mktemp("function"), environment) as emulator:
        yield emulator


def invoke(function: Emulator, request: HttpRequest) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(function.invoke(json.dumps(http_api_v2(request)).encode()))
    return answer


def test_a_jpeg_goes_in_and_a_heatmap_comes_out(function: Emulator, sample_jpeg: bytes) -> None:
    answer = invoke(function, heatmap_request("scan.jpg", sample_jpeg))

    body = answer_json(answer)
    assert answer["statusCode"] == 200
    heatmap = Image.open(io.BytesIO(base64.b64decode(body["heatmap_base64"])))
    heatmap.load()
    assert (heatmap.format, heatmap.size) == ("PNG", (1024, 1024))
    assert body["prediction"]["label"] == "OPACITY"
    assert base64.b64decode(body["original_image_base64"]) == sample_jpeg


def test_the_png_itself_is_returned_as_binary(function: Emulator, sample_jpeg: bytes) -> None:
    request = heatmap_request("scan.jpg", sample_jpeg)
    request.headers["accept"] = "image/png"

    answer = invoke(function, request)

    assert answer["isBase64Encoded"] is True
    assert answer["headers"]["content-type"] == "image/png"
    assert base64.b64decode(answer["body"]).startswith(b"\x89PNG")


def test_bad_input_does_not_end_the_function(function: Emulator, sample_jpeg: bytes) -> None:
    refused = invoke(function, heatmap_request("scan.jpg", sample_jpeg[:2000]))

    assert refused["statusCode"] == 400
    assert answer_json(refused)["code"] == "input.unreadable"
    assert invoke(function, heatmap_request("scan.jpg", sample_jpeg))["statusCode"] == 200


def test_an_event_that_is_not_a_request_fails_with_one_message_and_is_not_logged(function: Emulator) -> None:
    event = {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "Doe^Jane.png"}}}]}

    answer = json.loads(function.invoke(json.dumps(event).encode()))

    assert answer["errorType"] == "UnknownEvent"
    assert "HTTP API" in answer["errorMessage"]
    assert "\n" not in answer["errorMessage"]
    logged = function.output.read_text() + function.log.read_text()
    assert logged.count("[ERROR] UnknownEvent: ") == 1
    assert "Doe" not in logged

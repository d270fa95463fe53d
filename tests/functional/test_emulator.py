"""The handler under Lambda's own runtime client and emulator, as the function runs in the cloud."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from functions.cli.events import HttpRequest, answer_json, heatmap_request, http_api_v2
from tests.conftest import ROOT

EMULATOR = Path(sys.executable).parent / "aws-lambda-rie"  # `make dev` puts it there


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def function() -> Iterator[str]:
    """Address of the running function."""
    assert EMULATOR.exists(), "run `make dev`: it fetches the emulator"
    port, runtime = free_port(), free_port()
    addresses = [f"--runtime-interface-emulator-address=127.0.0.1:{port}", f"--runtime-api-address=127.0.0.1:{runtime}"]
    command = [str(EMULATOR), *addresses, sys.executable, "-m", "awslambdaric", "functions.api.handler.handler"]
    environment = os.environ | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "AWS_LAMBDA_FUNCTION_TIMEOUT": "30"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the emulator and the runtime it started
        process.wait()


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the emulator does not listen")


def invoke(function: str, request: HttpRequest) -> dict[str, Any]:
    data = json.dumps(http_api_v2(request)).encode()
    with urllib.request.urlopen(function, data, timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def test_a_jpeg_goes_in_and_a_heatmap_comes_out(function: str, sample_jpeg: bytes) -> None:
    answer = invoke(function, heatmap_request("scan.jpg", sample_jpeg))

    body = answer_json(answer)
    assert answer["statusCode"] == 200
    heatmap = Image.open(io.BytesIO(base64.b64decode(body["heatmap_base64"])))
    heatmap.load()
    assert (heatmap.format, heatmap.size) == ("PNG", (1024, 1024))
    assert body["prediction"]["label"] == "OPACITY"
    assert base64.b64decode(body["original_image_base64"]) == sample_jpeg


def test_the_png_itself_comes_back_as_binary(function: str, sample_jpeg: bytes) -> None:
    request = heatmap_request("scan.jpg", sample_jpeg)
    request.headers["accept"] = "image/png"

    answer = invoke(function, request)

    assert answer["isBase64Encoded"] is True
    assert answer["headers"]["content-type"] == "image/png"
    assert base64.b64decode(answer["body"]).startswith(b"\x89PNG")


def test_bad_input_does_not_end_the_function(function: str, sample_jpeg: bytes) -> None:
    refused = invoke(function, heatmap_request("scan.jpg", sample_jpeg[:2000]))

    assert refused["statusCode"] == 400
    assert answer_json(refused)["code"] == "input.unreadable"
    assert invoke(function, heatmap_request("scan.jpg", sample_jpeg))["statusCode"] == 200

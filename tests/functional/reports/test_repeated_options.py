"""An option that is sent twice is refused: either value could be the one that was meant."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from functions.endpoint.attributes import CUSTOM_ATTRIBUTES
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings
from tests.functional.api.test_bad_input import problem
from tests.functional.api.test_options import PIXELS
from tests.support.images import encoded

API = "/api/inference"
DATA = encoded(Image.fromarray(PIXELS))
TEXT = base64.b64encode(DATA).decode()
FILE = ("file", ("a.png", DATA))


@pytest.fixture(scope="module")
def client(colours_folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ServerSettings(model_dir=colours_folder), deployment="server")) as client:
        yield client


def assert_refused(response: Any, *loc: str) -> None:  # noqa: ANN401 - a client's response
    [error] = problem(response, 422, "request.invalid")["errors"]
    assert error == {"loc": [*loc], "msg": "given more than once: send one value", "type": "repeated"}
    assert response.json()["detail"].endswith(f"{loc[-1]}: given more than once: send one value")


@pytest.mark.parametrize("path", ["heatmap", "heatmap-batch"])
def test_in_the_query(client: TestClient, path: str) -> None:
    field = "file" if path == "heatmap" else "files"
    files = [(field, ("a.png", DATA))]

    response = client.post(f"{API}/{path}?alpha=0.3&alpha=0.5", files=files)

    assert_refused(response, "query", "alpha")
    assert client.post(f"{API}/{path}?target=0&target=1&include=map&include=overlay", files=files).status_code == 200


def test_in_the_form(client: TestClient) -> None:
    parts: list[tuple[str, Any]] = [FILE, ("alpha", (None, "0.3")), ("alpha", (None, "0.5"))]

    assert_refused(client.post(f"{API}/heatmap", files=parts), "body", "alpha")
    several: list[tuple[str, Any]] = [FILE, ("target", (None, "0")), ("target", (None, "1"))]
    assert client.post(f"{API}/heatmap", files=several).status_code == 200


@pytest.mark.parametrize("path", ["/api/inference/heatmap", "/v1/models/colours:explain", "/v2/models/colours/infer"])
def test_in_json(client: TestClient, path: str) -> None:
    model = client.get(f"{API}/models").json()["models"][0]["name"]
    bodies = {
        "heatmap": {"image_base64": TEXT, "alpha": 0.3, "beta": 0.5},
        ":explain": {"instances": [{"image_bytes": {"b64": TEXT}}], "alpha": 0.3, "beta": 0.5},
        "infer": {
            "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [TEXT]}],
            "parameters": {"alpha": 0.3, "beta": 0.5},
        },
    }
    body = next(body for name, body in bodies.items() if path.endswith(name))
    raw = json.dumps(body).replace('"beta"', '"alpha"')

    response = client.post(
        path.replace("colours", model), content=raw.encode(), headers={"content-type": "application/json"}
    )

    assert response.status_code in (400, 422), response.text
    assert "given more than once" in response.text


def test_in_custom_attributes(colours_folder: Path) -> None:
    with TestClient(create_endpoint(ServerSettings(model_dir=colours_folder))) as endpoint:
        response = endpoint.post(
            "/invocations",
            content=DATA,
            headers={"content-type": "image/png", CUSTOM_ATTRIBUTES: "alpha=0.3&alpha=0.5"},
        )

    assert_refused(response, "header", CUSTOM_ATTRIBUTES, "alpha")

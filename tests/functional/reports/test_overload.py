"""Requests that are expensive to read, to explain or to answer: the server stays small, and answers others."""

import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from heatlens_web import content_encoding, deliver, upload
from heatlens_web.app import create_app
from heatlens_web.base64_text import decode_base64
from heatlens_web.settings import ServerSettings
from tests.support.images import encoded, noise

API = "/api/inference"
IMAGE = encoded(noise((30, 20)))
JSON = {"content-type": "application/json"}
GZIP_JSON = JSON | {"content-encoding": "gzip"}

MakeServer = Callable[..., TestClient]


@pytest.fixture
def make_server(tiny_folder: Path) -> Iterator[MakeServer]:
    """Clients of the plain server's application, with one event loop for all requests of a client."""
    clients = []

    def make(**settings: object) -> TestClient:
        app = create_app(ServerSettings.model_validate({"model_dir": tiny_folder} | settings), deployment="server")
        clients.append(TestClient(app, raise_server_exceptions=False))
        return clients[-1].__enter__()

    yield make
    for client in clients:
        client.__exit__()


def bodies(image_base64: str) -> dict[str, dict[str, Any]]:
    """A JSON body with one image for each kind of route."""
    return {
        f"{API}/heatmap": {"image_base64": image_base64},
        f"{API}/heatmap-batch": {"images": [{"image_base64": image_base64}]},
        "/v1/models/demo:predict": {"instances": [{"b64": image_base64}]},
        "/v2/models/demo/infer": {"inputs": [{"name": "i", "shape": [1], "datatype": "BYTES", "data": [image_base64]}]},
    }


@pytest.mark.parametrize("path", bodies(""))
def test_base64_far_over_the_limit_of_a_file_is_not_decoded(
    make_server: MakeServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_server(file_bytes=1000)
    [name] = client.get("/v1/models").json()["models"]
    decoded: list[int] = []

    def recorded(text: str) -> bytes:
        decoded.append(len(text))
        return decode_base64(text)

    monkeypatch.setattr(upload, "decode_base64", recorded)

    def code(length: int) -> str:
        body = bodies(base64.b64encode(bytes(length)).decode())[path]
        answer = client.post(path.replace("demo", name), json=body).json()
        return str((answer.get("results") or [answer])[0]["code"])

    assert code(1000) == "input.unsupported"
    assert code(1001) == "limit.file_bytes"
    assert len(decoded) == 2
    assert code(100_000) == "limit.file_bytes"
    assert len(decoded) == 2


def test_base64_with_line_breaks_and_a_prefix_may_be_as_long_as_the_file_allows(make_server: MakeServer) -> None:
    client = make_server(file_bytes=len(IMAGE))
    text = "data:image/png;base64," + base64.encodebytes(IMAGE).decode().replace("\n", "\r\n")

    assert client.post(f"{API}/heatmap", json={"image_base64": text}).status_code == 200


@pytest.mark.parametrize("path", bodies(""))
def test_a_small_compressed_body_inflates_no_further_than_a_body_with_one_image(
    make_server: MakeServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_server(file_bytes=1000, body_bytes=100_000_000)
    [name] = client.get("/v1/models").json()["models"]
    monkeypatch.setattr(content_encoding, "PIECE_BYTES", 10_000)
    inflated: list[int] = []

    async def counted(*arguments: Any) -> Any:  # noqa: ANN401 - those of `decoded`
        async for chunk in content_encoding.decoded(*arguments):
            inflated.append(len(chunk))
            yield chunk

    monkeypatch.setattr(upload, "decoded", counted)
    bomb = gzip.compress(json.dumps(bodies("A" * 50_000_000)[path]).encode())

    answer = client.post(path.replace("demo", name), content=bomb, headers=GZIP_JSON)

    limit = 1024 * 1024 + 1336  # base64 of 1,000 bytes, and room for the rest of the JSON
    assert (answer.status_code, answer.json()["code"]) == (413, "limit.body_bytes")
    assert f"{limit:,} bytes" in answer.json()["detail"]
    assert sum(inflated) <= limit + 10_000


@pytest.mark.parametrize("path", ["/heatmap", "/predict"])
def test_json_with_one_image_is_no_longer_than_one_image_needs(make_server: MakeServer, path: str) -> None:
    client = make_server(file_bytes=1000)
    limit = 1024 * 1024 + 1336

    body = json.dumps(bodies(base64.b64encode(bytes(1001)).decode())[f"{API}/heatmap"])

    def code(length: int) -> tuple[int, str]:
        answer = client.post(API + path, content=body.ljust(length), headers=JSON)
        return answer.status_code, answer.json()["code"]

    assert code(limit) == (413, "limit.file_bytes")
    assert code(limit + 1) == (413, "limit.body_bytes")


@pytest.mark.parametrize("kind", ["serve", "endpoint"])
def test_health_is_answered_while_a_large_response_is_encoded(
    kind: str, make_server: MakeServer, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding, go_on = threading.Event(), threading.Event()
    encode = deliver.deliver_one

    def slow(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - those of `deliver_one`
        encoding.set()
        assert go_on.wait(30), "nobody was answered meanwhile"
        return encode(*arguments, **named)

    monkeypatch.setattr(deliver, "deliver_one", slow)
    endpoint = TestClient(create_endpoint(ServerSettings(model_dir=tiny_folder)))
    paths = {"serve": (f"{API}/heatmap", f"{API}/health"), "endpoint": ("/invocations", "/ping")}
    work, health = paths[kind]
    with endpoint, ThreadPoolExecutor(1) as clients:
        client = make_server() if kind == "serve" else endpoint
        answer = clients.submit(client.post, work, content=IMAGE, headers={"content-type": "image/png"})
        assert encoding.wait(30)
        assert client.get(health).status_code == 200
        go_on.set()
        assert answer.result().status_code == 200

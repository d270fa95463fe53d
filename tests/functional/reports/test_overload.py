"""Requests that are expensive to read, to explain or to answer: the server stays small, and answers others."""

import asyncio
import base64
import errno
import gzip
import json
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.endpoint.app import create_app as create_endpoint
from heatlens.model import Model, load_model
from heatlens.types import Floats
from heatlens_web import content_encoding, deliver, upload
from heatlens_web.app import create_app
from heatlens_web.base64_text import decode_base64
from heatlens_web.server_state import ServerState
from heatlens_web.settings import ServerSettings
from tests.support.coroutines import awaited
from tests.support.images import encoded, noise
from tests.support.staged import Counting, grey

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


class Engine(Counting):
    """An engine that records its batches, and waits at a closed gate."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.began, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        crossing = super().trunk(batch)
        self.began.set()
        assert self.gate.wait(30)
        return crossing


class Server:
    """The plain server's application with one worker and such an engine, and its clients."""

    def __init__(self, client: TestClient, engine: Engine) -> None:
        self.client, self.engine = client, engine
        self.state: ServerState = client.app.state.server  # type: ignore[attr-defined]

    def send(self, *images: bytes, path: str = f"{API}/heatmap-batch?include=map") -> Any:  # noqa: ANN401 - httpx
        return self.client.post(path, files=[("files", image) for image in images])

    @contextmanager
    def held(self, *images: bytes) -> Iterator[ThreadPoolExecutor]:
        """Hold the only worker with these images of one request, within the context."""
        self.engine.gate.clear()
        self.engine.began.clear()
        with ThreadPoolExecutor(8) as clients:
            first = clients.submit(self.send, *images)
            assert self.engine.began.wait(30)
            try:
                yield clients
            finally:
                self.engine.gate.set()
            assert first.result().status_code == 200


@pytest.fixture
def make_held(tiny_folder: Path, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Server]:
    def make(**settings: object) -> Server:
        model = load_model(tiny_folder)
        engine = Engine(model)
        counted = Model(model.card, model.sha256, engine)
        monkeypatch.setattr("heatlens.registry.load_by_settings", lambda *_, **__: counted)
        return Server(make_server(**{"concurrency": 1, "gather_ms": 0} | settings), engine)

    return make


def until(true: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if true():
            return
        time.sleep(0.001)
    raise AssertionError("the condition was never met")


def test_a_request_with_many_images_gives_others_their_turn(make_held: Callable[..., Server]) -> None:
    server = make_held(batch_images=2)
    with server.held(*[grey(level) for level in range(6)]) as clients:
        single = clients.submit(server.send, grey(99))
        until(lambda: server.state.batcher.waiting == 1)
    assert single.result().status_code == 200

    assert server.engine.sizes == [2, 1, 2, 2]


def test_images_of_concurrent_requests_share_an_engine_batch(make_held: Callable[..., Server]) -> None:
    server = make_held()
    alone = [server.send(grey(level)).json()["results"][0]["map"] for level in (1, 2, 3)]
    with server.held(grey(9)) as clients:
        answers = [clients.submit(server.send, grey(1)), clients.submit(server.send, grey(2), grey(3))]
        until(lambda: server.state.batcher.waiting == 3)

    assert server.engine.sizes[4:] == [3]
    results = [result for answer in answers for result in answer.result().json()["results"]]
    assert [result["map"] for result in results] == alone


def test_predictions_share_an_engine_batch_too(make_held: Callable[..., Server]) -> None:
    server = make_held()
    with server.held(grey(9)) as clients:
        scored = clients.submit(server.send, grey(1), grey(2), path=f"{API}/predict-batch")
        explained = clients.submit(server.send, grey(3))
        until(lambda: server.state.batcher.waiting == 3)

    assert scored.result().json()["succeeded"] == 2
    assert explained.result().json()["succeeded"] == 1
    assert sorted(server.engine.sizes[1:]) == [1, 2]


def test_a_request_over_its_time_answers_with_what_is_done(make_held: Callable[..., Server]) -> None:
    server = make_held(batch_images=1, request_s=0.5)
    with server.held(grey(9)) as clients:
        behind = clients.submit(server.client.post, f"{API}/heatmap", content=grey(1))
        assert behind.result().status_code == 504
        assert behind.result().json()["code"] == "deadline"
        assert server.state.batcher.waiting == 0


@pytest.mark.provokes("server.busy")
def test_requests_over_the_limit_are_refused_and_health_is_answered(make_held: Callable[..., Server]) -> None:
    server = make_held(in_flight=2, retry_after_s=7)
    with server.held(grey(9)) as clients:
        second = clients.submit(server.send, grey(1))
        until(lambda: server.state.admission.working == 2)

        for path in ("heatmap", "heatmap-batch", "predict", "predict-batch"):
            refused = server.client.post(f"{API}/{path}", content=b"not read")
            assert (refused.status_code, refused.json()["code"]) == (503, "server.busy")
            assert refused.headers["retry-after"] == "7"
        for path in ("health", "ready", "models"):
            assert server.client.get(f"{API}/{path}").status_code == 200
    assert second.result().status_code == 200
    assert server.state.admission.in_flight == 0
    assert server.send(grey(1)).status_code == 200


async def called(
    client: TestClient, headers: list[tuple[bytes, bytes]], receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
) -> int:
    """Call the application without a client, and return the status of its response."""
    return (await answered(client, headers, receive))[0]


async def answered(
    client: TestClient, headers: list[tuple[bytes, bytes]], receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
) -> tuple[int, bytes]:
    """Call the application without a client, and return the status and the body of its response."""
    messages: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": f"{API}/heatmap", "query_string": b"", "headers": headers}
    await client.app(scope, receive, send)
    return int(messages[0]["status"]), b"".join(message.get("body", b"") for message in messages)


async def body(data: bytes) -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": data, "more_body": False}


def test_clients_that_announce_more_than_they_send_hold_nothing(make_server: MakeServer) -> None:
    client = make_server()
    announced = [(b"content-type", b"image/png"), (b"content-length", b"499000000")]

    async def run() -> tuple[int, list[int]]:
        silent: asyncio.Event = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            await silent.wait()
            return await body(IMAGE)

        waiting = [asyncio.create_task(called(client, announced, receive)) for _ in range(40)]
        await asyncio.sleep(0.01)
        status = await called(client, [], lambda: body(IMAGE))
        silent.set()
        return status, await asyncio.gather(*waiting)

    status, others = awaited(run())

    assert status == 200
    assert sorted(set(others)) == [200, 503]  # 32 have their turn
    assert others.count(200) == 32


@pytest.mark.parametrize("compressed", [False, True])
def test_the_bytes_of_all_bodies_are_limited_inflated_ones_as_they_are(
    make_server: MakeServer, *, compressed: bool
) -> None:
    client = make_server(held_bytes=3_000_000, file_bytes=100_000)
    sent: list[int] = []

    async def upload(count: int) -> int:
        packer = zlib.compressobj(wbits=31)
        done = 0

        async def receive() -> MutableMapping[str, Any]:
            nonlocal done
            done += 1
            sent.append(1)
            await asyncio.sleep(0)
            data = bytes(500_000)
            if compressed:
                data = packer.compress(data) + packer.flush(zlib.Z_FINISH if done == count else zlib.Z_SYNC_FLUSH)
            return {"type": "http.request", "body": data, "more_body": done < count}

        headers = [(b"content-encoding", b"gzip")] if compressed else []
        return await called(client, headers, receive)

    async def run() -> list[int]:
        return await asyncio.gather(*[upload(2) for _ in range(8)])

    statuses = awaited(run())

    assert set(statuses) == {413, 503}  # a file over its limit, and refused before that was known
    admission = client.app.state.server.admission  # type: ignore[attr-defined]
    assert (admission.held_bytes, admission.in_flight) == (0, 0)


@pytest.mark.provokes("request.disconnected")
def test_a_client_that_disconnects_frees_its_images(make_held: Callable[..., Server]) -> None:
    server = make_held(batch_images=2)
    gone = threading.Event()

    async def ask() -> tuple[int, bytes]:
        messages = [body(b"".join(form(6)))]

        async def receive() -> MutableMapping[str, Any]:
            if messages:
                return await messages.pop()
            while not gone.is_set():
                await asyncio.sleep(0.001)
            return {"type": "http.disconnect"}

        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        return await answered(server.client, headers, receive)

    with server.held(grey(9)):
        portal = server.client.portal
        assert portal is not None
        asked = portal.start_task_soon(ask)
        until(lambda: server.state.batcher.waiting == 1)
        gone.set()
        status, problem = asked.result()
        assert (status, json.loads(problem)["code"]) == (400, "request.disconnected")
        assert server.state.batcher.waiting == 0
        assert server.state.admission.in_flight == 1
    assert server.engine.sizes == [1]


def form(count: int) -> list[bytes]:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return [head, grey(count), b"\r\n--x--\r\n"]


def test_once_shutting_down_new_requests_are_refused_and_it_is_not_ready(make_held: Callable[..., Server]) -> None:
    server = make_held()
    with server.held(grey(9)):
        server.state.admission.closed = True

        refused = server.send(grey(1))
        assert (refused.status_code, refused.json()["code"]) == (503, "server.stopping")
        assert server.client.get(f"{API}/ready").json()["code"] == "server.stopping"
        assert server.client.get("/v2/health/ready").json()["code"] == "server.stopping"
        assert server.client.get("/v2/health/live").status_code == 200
        assert server.client.get(f"{API}/health").status_code == 200
        staged = server.client.post(f"{API}/batches", json={"expected_files": 1})
        assert staged.status_code == 503


def test_the_time_for_faithfulness_is_shared_among_all_images_of_a_request(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[float] = []

    def measured(*_: Any, budget_s: float, **__: Any) -> None:  # noqa: ANN401 - those of `faithfulness`
        budgets.append(budget_s)

    monkeypatch.setattr("heatlens.pipeline.faithfulness", measured)
    client = make_server(faithfulness_s=12, batch_images=2)

    answer = client.post(
        f"{API}/heatmap-batch?include=faithfulness", files=[("files", grey(level)) for level in range(6)]
    )

    assert answer.json()["succeeded"] == 6
    assert budgets == pytest.approx([2.0] * 6)


@pytest.mark.provokes("server.decoder")
def test_a_decoder_that_the_system_does_not_start_is_503(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("heatlens_web.decode_pool._start_process", refuse)

    answer = make_server().post(f"{API}/heatmap", files={"file": encoded(noise((30, 30)), "JPEG2000")})

    assert (answer.status_code, answer.json()["code"]) == (503, "server.decoder")
    assert answer.headers["retry-after"]

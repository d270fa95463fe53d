"""Concurrent requests to the SageMaker endpoint: shared engine calls, the same bytes, and limits."""

import asyncio
import base64
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from functions.endpoint.app import create_app
from heatlens.model import Model, load_model
from heatlens.types import Floats
from heatlens_web.settings import ServerSettings
from tests.support.coroutines import awaited
from tests.support.images import encoded, noise
from tests.support.staged import Counting, grey

Message = MutableMapping[str, Any]
ATTRIBUTES = "include=overlay,original,map"


class Held(Counting):
    """An engine that records its batches, waits at a closed gate, and fails at images of `refused` brightness."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.began, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.refused: set[int] = set()  # brightness of images

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        crossing = super().trunk(batch)
        self.began.set()
        assert self.gate.wait(5)
        if self.refused & set(self.seen[-len(batch) :]):
            raise RuntimeError("no")
        return crossing


class Server:
    """The endpoint on such an engine, and its clients."""

    def __init__(self, model: Model, client: TestClient, engine: Held) -> None:
        self.model, self.client, self.engine = model, client, engine
        self.state = client.app.state.server  # type: ignore[attr-defined]

    def ask(self, data: bytes, attributes: str = ATTRIBUTES, accept: str = "application/json") -> Any:  # noqa: ANN401
        headers = {"content-type": "image/png", "accept": accept}
        headers["x-amzn-sagemaker-custom-attributes"] = attributes
        return self.client.post("/invocations", content=data, headers=headers)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the engine from finishing."""
        self.engine.gate.clear()
        self.engine.began.clear()
        try:
            yield
        finally:
            self.engine.gate.set()

    def together(self, images: Sequence[bytes], attributes: Sequence[str] = ()) -> list[Any]:
        """Send these images while the only worker is busy with another."""
        options = attributes or [ATTRIBUTES] * len(images)
        with ThreadPoolExecutor(len(images) + 1) as clients, self.held():
            first = clients.submit(self.ask, grey(9))
            assert self.engine.began.wait(20)
            answers = []
            for count, (image, attribute) in enumerate(zip(images, options, strict=True), start=1):
                answers.append(clients.submit(self.ask, image, attribute))
                until(lambda count=count: self.state.batcher.waiting == count)  # type: ignore[misc]
            self.engine.gate.set()
            assert first.result().status_code == 200
            return [answer.result() for answer in answers]


def until(true: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if true():
            return
        time.sleep(0.001)
    raise AssertionError("the condition was never met")


async def one_image() -> Message:
    return {"type": "http.request", "body": grey(1), "more_body": False}


async def called(
    server: Server,
    headers: list[tuple[bytes, bytes]],
    receive: Callable[[], Awaitable[Message]] = one_image,
    sent: Callable[[Message], None] = lambda _: None,
) -> list[Message]:
    """Call the application without a client, and return the messages that it sent."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        sent(message)
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b""}
    await server.client.app(scope | {"headers": [(b"content-type", b"image/png"), *headers]}, receive, send)
    return messages


MakeServer = Callable[..., Server]


@pytest.fixture
def make_server(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeServer]:
    clients = []

    def make(**settings: Any) -> Server:  # noqa: ANN401 - any setting
        model = load_model(tiny_folder)
        engine = Held(model)
        counted = Model(model.card, model.sha256, engine)
        monkeypatch.setattr("heatlens.registry.load_by_settings", lambda *_, **__: counted)
        values: dict[str, Any] = {"model_dir": tiny_folder, "concurrency": 1, "gather_ms": 0} | settings
        client = TestClient(create_app(ServerSettings.model_validate(values)), raise_server_exceptions=False)
        clients.append(client)
        client.__enter__()  # one event loop for all requests
        return Server(model, client, engine)

    yield make
    for client in clients:
        client.__exit__()


def products(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {k: v for k, v in body.items() if k not in {"request_id", "processing_time_ms", "timings_ms"}}


def test_concurrent_requests_share_an_engine_batch_and_get_the_same_bytes_as_alone(make_server: MakeServer) -> None:
    server = make_server()
    images = [encoded(noise((40 + seed, 30), seed=seed)) for seed in range(5)]
    alone = [products(server.ask(image)) for image in images]
    assert server.engine.sizes == [1] * 5

    answers = server.together(images)

    assert server.engine.sizes[5:] == [1, 5]
    assert [products(answer) for answer in answers] == alone
    assert len({answer["heatmap_base64"] for answer in alone}) == 5
    assert len({answer.json()["request_id"] for answer in answers}) == 5


def test_a_single_request_does_not_wait_for_the_window(make_server: MakeServer) -> None:
    server = make_server(gather_ms=3_600_000)

    assert server.ask(grey(1)).status_code == 200


@pytest.mark.parametrize(("settings", "sizes"), [({"batch_images": 2}, [2, 2, 1]), ({"image_pixels": 3200}, [2, 2, 1])])
def test_batches_are_limited_in_images_and_pixels(
    make_server: MakeServer, settings: dict[str, int], sizes: list[int]
) -> None:
    server = make_server(**settings)

    answers = server.together([grey(level) for level in range(5)])  # of 1,600 pixels each

    assert [answer.status_code for answer in answers] == [200] * 5
    assert server.engine.sizes[1:] == sizes


def test_each_request_gets_its_own_options(make_server: MakeServer) -> None:
    server = make_server()
    image = encoded(noise((40, 30)))
    options = ["colormap=hot", "colormap=jet", "colormap=hot", "include=map"]
    alone = [products(server.ask(image, each)) for each in options]

    answers = server.together([image] * 4, options)

    assert [products(answer) for answer in answers] == alone
    assert server.engine.sizes[4:] == [1, 2, 1, 1]


def test_bad_images_do_not_affect_the_others_of_their_batch(make_server: MakeServer) -> None:
    server = make_server()
    server.engine.refused = {200}
    whole = grey(10)

    answers = server.together([whole, whole[:-30], grey(200), whole])

    codes = [(answer.status_code, answer.json().get("code")) for answer in answers]
    assert codes == [(200, None), (400, "input.unreadable"), (500, "generation.failed"), (200, None)]
    assert products(answers[0]) == products(answers[3])
    assert server.engine.sizes[1] == 3


@pytest.mark.parametrize(("data", "code"), [(grey(10)[:30], "input.unreadable"), (b"text", "input.unsupported")])
def test_an_image_without_a_size_waits_for_no_worker(make_server: MakeServer, data: bytes, code: str) -> None:
    server = make_server()
    with ThreadPoolExecutor(1) as clients, server.held():
        running = clients.submit(server.ask, grey(9))
        assert server.engine.began.wait(20)

        assert server.ask(data).json()["code"] == code

        server.engine.gate.set()
        assert running.result().status_code == 200


@pytest.mark.provokes("server.busy")
def test_rejects_requests_over_the_limit_before_reading_them(make_server: MakeServer) -> None:
    server = make_server(in_flight=2, retry_after_s=7)
    with ThreadPoolExecutor(2) as clients, server.held():
        running = [clients.submit(server.ask, grey(level)) for level in (1, 2)]
        until(lambda: server.state.admission.working == 2)

        refused = server.ask(grey(3))

        assert (refused.status_code, refused.json()["code"]) == (503, "server.busy")
        assert refused.headers["retry-after"] == "7"
        assert refused.headers["content-type"] == "application/problem+json"
        assert server.client.get("/ping").status_code == 200
        server.engine.gate.set()
        assert [request.result().status_code for request in running] == [200, 200]
    assert server.state.admission.in_flight == 0
    assert server.ask(grey(3)).status_code == 200


def test_rejects_a_body_over_the_limit_of_all_bodies_together(make_server: MakeServer) -> None:
    image = encoded(noise((40, 40)))
    server = make_server(in_flight=9, held_bytes=2 * len(image), file_bytes=len(image))
    with ThreadPoolExecutor(2) as clients, server.held():
        running = [clients.submit(server.ask, image) for _ in range(2)]
        until(lambda: server.state.admission.working == 2)

        assert server.ask(image).json()["code"] == "server.busy"

        server.engine.gate.set()
        assert [request.result().status_code for request in running] == [200, 200]


def test_a_body_of_unknown_length_counts_as_it_arrives(make_server: MakeServer) -> None:
    server = make_server(in_flight=9, held_bytes=2 * len(grey(1)))
    inner: list[Message] = []
    parts = [grey(1)[:40], grey(1)[40:]]

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()  # the client stays connected
        part = parts.pop(0)
        if not parts:
            assert server.state.admission.held_bytes == 40
            inner.extend(await called(server, [(b"content-length", b"%d" % (2 * len(grey(1)) - 39))]))
            inner.extend(await called(server, []))
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    outer = awaited(called(server, [], receive))

    assert [message["status"] for message in (inner[0], inner[2], outer[0])] == [503, 200, 200]


def test_a_body_may_be_as_long_as_a_file_in_base64_and_no_longer(make_server: MakeServer) -> None:
    image = encoded(noise((1000, 800)))
    server = make_server(file_bytes=len(image))
    limit = (len(image) + 2) // 3 * 4 + 1024 * 1024
    assert server.state.state.limits.body_bytes == limit

    headers = {"content-type": "application/json"}
    body = b'{"image_base64": "' + base64.b64encode(image) + b'"}'
    assert server.client.post("/invocations", content=body.ljust(limit), headers=headers).status_code == 200
    refused = server.client.post("/invocations", content=body.ljust(limit + 1), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "limit.body_bytes")


def test_a_request_is_in_flight_until_its_response_is_sent(make_server: MakeServer) -> None:
    server = make_server()
    counts: list[int] = []

    awaited(called(server, [], sent=lambda _: counts.append(server.state.admission.in_flight)))

    assert counts == [1, 1]
    assert server.state.admission.in_flight == 0


def test_a_ping_reports_a_broken_engine_until_it_works_again(make_server: MakeServer) -> None:
    server = make_server()
    black = 0  # brightness of the image that an engine is started with
    server.engine.refused = {30, black}

    assert server.ask(grey(30)).json()["code"] == "generation.failed"

    ping = server.client.get("/ping")
    assert (ping.status_code, ping.json()["code"]) == (503, "model.unavailable")
    assert "broken" in ping.json()["detail"]
    assert server.ask(grey(40)).status_code == 200
    assert server.client.get("/ping").status_code == 200


def test_an_image_that_the_engine_fails_at_does_not_make_it_unhealthy(make_server: MakeServer) -> None:
    server = make_server()
    server.engine.refused = {30}

    assert server.ask(grey(30)).json()["code"] == "generation.failed"

    assert server.client.get("/ping").status_code == 200

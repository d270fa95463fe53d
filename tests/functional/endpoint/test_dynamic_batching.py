"""Concurrent requests at the SageMaker door -> fewer engine calls, the same bytes, and a bound on all of it."""

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
    """An engine that notes its batches, waits at the gate, and cannot do what it is told that it cannot."""

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


class Door:
    """The door on such an engine, and clients of it."""

    def __init__(self, model: Model, client: TestClient, engine: Held) -> None:
        self.model, self.client, self.engine = model, client, engine
        self.door = client.app.state.server  # type: ignore[attr-defined]

    def ask(self, data: bytes, attributes: str = ATTRIBUTES, accept: str = "application/json") -> Any:  # noqa: ANN401
        headers = {"content-type": "image/png", "accept": accept}
        headers["x-amzn-sagemaker-custom-attributes"] = attributes
        return self.client.post("/invocations", content=data, headers=headers)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the engine from answering."""
        self.engine.gate.clear()
        self.engine.began.clear()
        try:
            yield
        finally:
            self.engine.gate.set()

    def together(self, images: Sequence[bytes], attributes: Sequence[str] = ()) -> list[Any]:
        """Ask for these while the only worker is at another image."""
        wishes = attributes or [ATTRIBUTES] * len(images)
        with ThreadPoolExecutor(len(images) + 1) as clients, self.held():
            first = clients.submit(self.ask, grey(9))
            assert self.engine.began.wait(20)
            answers = []
            for count, (image, wish) in enumerate(zip(images, wishes, strict=True), start=1):
                answers.append(clients.submit(self.ask, image, wish))
                until(lambda count=count: self.door.backend.batcher.waiting == count)  # type: ignore[misc]
            self.engine.gate.set()
            assert first.result().status_code == 200
            return [answer.result() for answer in answers]


def until(true: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if true():
            return
        time.sleep(0.001)
    raise AssertionError("it never came to pass")


async def one_image() -> Message:
    return {"type": "http.request", "body": grey(1), "more_body": False}


async def called(
    door: Door,
    headers: list[tuple[bytes, bytes]],
    receive: Callable[[], Awaitable[Message]] = one_image,
    sent: Callable[[Message], None] = lambda _: None,
) -> list[Message]:
    """Call the application itself, where a client would get in the way; gives what it sent."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        sent(message)
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b""}
    await door.client.app(scope | {"headers": [(b"content-type", b"image/png"), *headers]}, receive, send)
    return messages


MakeDoor = Callable[..., Door]


@pytest.fixture
def make_door(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDoor]:
    clients = []

    def make(**settings: Any) -> Door:  # noqa: ANN401 - any setting
        model = load_model(tiny_folder)
        engine = Held(model)
        counted = Model(model.card, model.sha256, engine)
        monkeypatch.setattr("heatlens.registry.load_by_settings", lambda *_, **__: counted)
        values: dict[str, Any] = {"model_dir": tiny_folder, "concurrency": 1, "gather_ms": 0} | settings
        client = TestClient(create_app(ServerSettings.model_validate(values)), raise_server_exceptions=False)
        clients.append(client)
        client.__enter__()  # one event loop for all requests
        return Door(model, client, engine)

    yield make
    for client in clients:
        client.__exit__()


def products(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {k: v for k, v in body.items() if k not in {"request_id", "processing_time_ms", "timings_ms"}}


def test_concurrent_requests_are_one_engine_batch_with_the_bytes_of_one_each(make_door: MakeDoor) -> None:
    door = make_door()
    images = [encoded(noise((40 + seed, 30), seed=seed)) for seed in range(5)]
    alone = [products(door.ask(image)) for image in images]
    assert door.engine.sizes == [1] * 5

    answers = door.together(images)

    assert door.engine.sizes[5:] == [1, 5]
    assert [products(answer) for answer in answers] == alone
    assert len({answer["heatmap_base64"] for answer in alone}) == 5
    assert len({answer.json()["request_id"] for answer in answers}) == 5


def test_a_window_nobody_needs_is_not_waited_for(make_door: MakeDoor) -> None:
    door = make_door(gather_ms=3_600_000)

    assert door.ask(grey(1)).status_code == 200


@pytest.mark.parametrize(("settings", "sizes"), [({"batch_images": 2}, [2, 2, 1]), ({"image_pixels": 3200}, [2, 2, 1])])
def test_batches_are_bounded(make_door: MakeDoor, settings: dict[str, int], sizes: list[int]) -> None:
    door = make_door(**settings)

    answers = door.together([grey(level) for level in range(5)])  # of 1,600 pixels each

    assert [answer.status_code for answer in answers] == [200] * 5
    assert door.engine.sizes[1:] == sizes


def test_each_gets_what_it_asked_for(make_door: MakeDoor) -> None:
    door = make_door()
    image = encoded(noise((40, 30)))
    wishes = ["colormap=hot", "colormap=jet", "colormap=hot", "include=map"]
    alone = [products(door.ask(image, wish)) for wish in wishes]

    answers = door.together([image] * 4, wishes)

    assert [products(answer) for answer in answers] == alone
    assert door.engine.sizes[4:] == [1, 2, 1, 1]


def test_bad_images_fail_alone(make_door: MakeDoor) -> None:
    door = make_door()
    door.engine.refused = {200}
    whole = grey(10)

    answers = door.together([whole, whole[:40], grey(200), b"text", whole])

    codes = [(answer.status_code, answer.json().get("code")) for answer in answers]
    assert codes == [
        (200, None),
        (400, "input.unreadable"),
        (500, "generation.failed"),
        (400, "input.unsupported"),
        (200, None),
    ]
    assert products(answers[0]) == products(answers[4])
    assert door.engine.sizes[1] == 3


@pytest.mark.provokes("server.busy")
def test_more_requests_than_may_be_inside_are_refused_before_they_are_read(make_door: MakeDoor) -> None:
    door = make_door(in_flight=2, retry_after_s=7)
    with ThreadPoolExecutor(2) as clients, door.held():
        inside = [clients.submit(door.ask, grey(level)) for level in (1, 2)]
        until(lambda: door.door.admission.in_flight == 2)

        refused = door.ask(grey(3))

        assert (refused.status_code, refused.json()["code"]) == (503, "server.busy")
        assert refused.headers["retry-after"] == "7"
        assert refused.headers["content-type"] == "application/problem+json"
        assert door.client.get("/ping").status_code == 200
        door.engine.gate.set()
        assert [each.result().status_code for each in inside] == [200, 200]
    assert door.door.admission.in_flight == 0
    assert door.ask(grey(3)).status_code == 200


def test_bodies_that_are_too_much_together_are_refused(make_door: MakeDoor) -> None:
    image = encoded(noise((40, 40)))
    door = make_door(in_flight=9, body_bytes=2 * len(image))
    with ThreadPoolExecutor(2) as clients, door.held():
        inside = [clients.submit(door.ask, image) for _ in range(2)]
        until(lambda: door.door.admission.in_flight == 2)

        assert door.ask(image).json()["code"] == "server.busy"

        door.engine.gate.set()
        assert [each.result().status_code for each in inside] == [200, 200]


def test_a_body_of_unknown_length_counts_as_the_longest(make_door: MakeDoor) -> None:
    door = make_door(in_flight=9, body_bytes=10_000)
    inner: list[Message] = []

    async def receive() -> Message:
        inner.extend(await called(door, [(b"content-length", b"1")]))
        return {"type": "http.request", "body": grey(1), "more_body": False}

    outer = awaited(called(door, [], receive))

    assert [message["status"] for message in (inner[0], outer[0])] == [503, 200]


def test_a_body_may_be_as_long_as_a_file_in_base64_and_no_longer(make_door: MakeDoor) -> None:
    image = encoded(noise((1000, 800)))
    door = make_door(file_bytes=len(image))
    limit = (len(image) + 2) // 3 * 4 + 1024 * 1024
    assert door.door.state.limits.body_bytes == limit

    headers = {"content-type": "application/json"}
    body = b'{"image_base64": "' + base64.b64encode(image) + b'"}'
    assert door.client.post("/invocations", content=body.ljust(limit), headers=headers).status_code == 200
    refused = door.client.post("/invocations", content=body.ljust(limit + 1), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "limit.body_bytes")


def test_a_request_is_inside_until_its_answer_is_sent(make_door: MakeDoor) -> None:
    door = make_door()
    inside: list[int] = []

    awaited(called(door, [], sent=lambda _: inside.append(door.door.admission.in_flight)))

    assert inside == [1, 1]
    assert door.door.admission.in_flight == 0


def test_a_broken_engine_is_told_by_a_ping_until_it_works_again(make_door: MakeDoor) -> None:
    door = make_door()
    black = 0  # brightness of the image that an engine is started with
    door.engine.refused = {30, black}

    assert door.ask(grey(30)).json()["code"] == "generation.failed"

    ping = door.client.get("/ping")
    assert (ping.status_code, ping.json()["code"]) == (503, "model.unavailable")
    assert "broken" in ping.json()["detail"]
    assert door.ask(grey(40)).status_code == 200
    assert door.client.get("/ping").status_code == 200


def test_an_image_that_the_engine_cannot_do_breaks_nothing(make_door: MakeDoor) -> None:
    door = make_door()
    door.engine.refused = {30}

    assert door.ask(grey(30)).json()["code"] == "generation.failed"

    assert door.client.get("/ping").status_code == 200

"""Which images of concurrent requests are explained together, and which request gets which result."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from heatlens.batching import count_pixels
from heatlens.errors import HeatlensError, RequestImagesTooLarge, TooManyPasses, UnreadableImage
from heatlens.input.jpeg2000 import START_OF_CODESTREAM
from heatlens.results import Outcome
from heatlens.types import Options, Upload
from heatlens_web import dynamic_batching
from heatlens_web.dynamic_batching import Bounds, DynamicBatcher, Work
from tests.support.coroutines import awaited
from tests.support.staged import grey

LONG = 3600.0  # seconds that no test waits: a request that waits for the window never finishes
PLAIN, HOT = Options(), Options(colormap="hot")
Explain = Callable[[Sequence[Upload], Options, int], Sequence[Outcome]]


class Stub:
    """An explainer whose outcome is the image's own bytes, and that records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, uploads: Sequence[Upload], options: Options, _: int) -> list[Outcome]:
        self.batches.append([upload.data for upload in uploads])
        self.began.set()
        assert self.go_on.wait(20)
        return [outcome_of(upload.data + options.colormap.encode()) for upload in uploads]


def outcome_of(data: bytes) -> Outcome:
    return UnreadableImage(data.decode("latin-1"))


@pytest.fixture(autouse=True)
def count_short_texts_as_one_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts such as `b"a"` stand for small images here."""

    def count(upload: Upload, most: int) -> int:
        return 1 if len(upload.data) < 10 else count_pixels(upload, most)

    monkeypatch.setattr(dynamic_batching, "count_pixels", count)


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


class Server:
    """A batcher and its requests; `crowd` counts requests in flight that have sent no image yet."""

    def __init__(
        self,
        explain: Explain,
        workers: ThreadPoolExecutor,
        *,
        images: int = 8,
        pixels: int = 10**6,
        batches: int = 1,
        window_s: float = LONG,
    ) -> None:
        self.in_flight = self.crowd = 0
        bounds = Bounds(images=images, pixels=pixels, batches=batches, window_s=window_s)
        self.explain = explain
        self.batcher = DynamicBatcher(workers, bounds, in_flight=lambda: self.in_flight + self.crowd)

    async def ask(self, data: bytes, options: Options = PLAIN) -> str:
        return (await self.ask_all([data], options))[0]

    async def ask_all(self, images: Sequence[bytes], options: Options = PLAIN) -> list[str]:
        self.in_flight += 1
        try:
            work = Work(self.explain, options)
            return [str(outcome) for outcome in await self.batcher.run([Upload("", data) for data in images], work)]
        finally:
            self.in_flight -= 1

    def start(self, data: bytes, options: Options = PLAIN) -> "asyncio.Task[str]":
        return asyncio.get_running_loop().create_task(self.ask(data, options))

    async def waiting(self, count: int) -> None:
        while self.batcher.waiting != count:
            await asyncio.sleep(0.001)


async def batch_behind_one(server: Server, stub: Stub, *images: tuple[bytes, Options]) -> list[str]:
    """Send these images while the only worker is busy with another, then let it continue."""
    stub.go_on.clear()
    first = server.start(b"first")
    await asyncio.to_thread(stub.began.wait, 20)
    tasks = []
    for count, (data, options) in enumerate(images, start=1):
        tasks.append(server.start(data, options))
        await server.waiting(count)
    stub.go_on.set()
    return [await first, *[await task for task in tasks]]


def test_a_single_request_is_not_delayed(stub: Stub, workers: ThreadPoolExecutor) -> None:
    assert awaited(Server(stub, workers).ask(b"a")) == "ajet"
    assert stub.batches == [[b"a"]]


def test_all_requests_in_flight_are_one_batch_and_each_gets_its_own_result(
    stub: Stub, workers: ThreadPoolExecutor
) -> None:
    async def run() -> list[str]:
        server = Server(stub, workers)
        return await asyncio.gather(*[server.ask(bytes([65 + n])) for n in range(8)])

    assert awaited(run()) == [f"{chr(65 + n)}jet" for n in range(8)]
    assert [sorted(batch) for batch in stub.batches] == [[bytes([65 + n]) for n in range(8)]]


def test_waits_no_longer_than_the_window_for_a_request_without_an_image(
    stub: Stub, workers: ThreadPoolExecutor
) -> None:
    server = Server(stub, workers, window_s=0.001)
    server.crowd = 1

    assert awaited(server.ask(b"a")) == "ajet"


def test_an_image_waits_while_other_requests_are_in_flight(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> None:
        server = Server(stub, workers)
        server.crowd = 1
        first = server.start(b"a")
        await server.waiting(1)
        assert stub.batches == []
        server.crowd = 0
        await asyncio.gather(first, server.start(b"b"))

    awaited(run())

    assert [sorted(batch) for batch in stub.batches] == [[b"a", b"b"]]


def test_images_that_arrive_while_the_workers_are_busy_are_one_batch(stub: Stub, workers: ThreadPoolExecutor) -> None:
    server = Server(stub, workers, window_s=0)

    answers = awaited(batch_behind_one(server, stub, (b"a", PLAIN), (b"b", PLAIN), (b"c", PLAIN)))

    assert answers == ["firstjet", "ajet", "bjet", "cjet"]
    assert stub.batches == [[b"first"], [b"a", b"b", b"c"]]


def test_a_batch_is_limited_in_images(stub: Stub, workers: ThreadPoolExecutor) -> None:
    server = Server(stub, workers, images=2, window_s=0)

    awaited(batch_behind_one(server, stub, *[(bytes([65 + n]), PLAIN) for n in range(5)]))

    assert stub.batches == [[b"first"], [b"A", b"B"], [b"C", b"D"], [b"E"]]


def test_a_batch_is_limited_in_pixels(stub: Stub, workers: ThreadPoolExecutor) -> None:
    server = Server(stub, workers, pixels=200, window_s=0)
    images = [grey(1, 10), grey(2, 10), grey(3, 10)]  # of 100 pixels

    awaited(batch_behind_one(server, stub, *[(image, PLAIN) for image in images]))

    assert stub.batches[1:] == [images[:2], images[2:]]


@pytest.mark.parametrize("unmeasured", [grey(4, 20), b"no image at all"])
def test_an_image_that_cannot_be_measured_counts_as_the_limit(
    unmeasured: bytes, stub: Stub, workers: ThreadPoolExecutor
) -> None:
    server = Server(stub, workers, pixels=200, window_s=0)

    awaited(batch_behind_one(server, stub, (grey(1, 10), PLAIN), (unmeasured, PLAIN), (grey(2, 10), PLAIN)))

    assert stub.batches[1:] == [[grey(1, 10), grey(2, 10)], [unmeasured]]


def test_images_with_different_options_are_different_batches(stub: Stub, workers: ThreadPoolExecutor) -> None:
    server = Server(stub, workers, window_s=0)

    answers = awaited(batch_behind_one(server, stub, (b"a", PLAIN), (b"b", HOT), (b"c", PLAIN), (b"d", HOT)))

    assert answers[1:] == ["ajet", "bhot", "cjet", "dhot"]
    assert stub.batches[1:] == [[b"a", b"c"], [b"b", b"d"]]


def test_batches_at_once_are_limited(workers: ThreadPoolExecutor) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def explain(uploads: Sequence[Upload], _: Options, __: int) -> list[Outcome]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return [outcome_of(upload.data) for upload in uploads]

    async def run() -> None:
        server = Server(explain, workers, images=1, batches=2)
        await asyncio.gather(*[server.ask(b"a") for _ in range(12)])

    awaited(run())

    assert most == 2


@pytest.mark.parametrize(
    "failure",
    [RequestImagesTooLarge("all of them"), TooManyPasses("all of them"), MemoryError(), RuntimeError()],
)
def test_a_batch_that_fails_is_explained_one_image_at_a_time(failure: Exception, workers: ThreadPoolExecutor) -> None:
    batches = []

    def explain(uploads: Sequence[Upload], _: Options, __: int) -> list[Outcome]:
        batches.append(len(uploads))
        if any(upload.data == b"poison" for upload in uploads):
            if isinstance(failure, HeatlensError):
                return [failure] * len(uploads)
            raise failure
        return [outcome_of(upload.data) for upload in uploads]

    async def run() -> list[str | BaseException]:
        server = Server(explain, workers)
        return await asyncio.gather(*[server.ask(each) for each in (b"a", b"poison", b"b")], return_exceptions=True)

    first, poisoned, last = awaited(run())

    assert (first, last) == ("a", "b")
    assert poisoned == (str(failure) if isinstance(failure, HeatlensError) else failure)
    assert batches == [3, 1, 1, 1]


def test_an_image_that_ran_out_of_memory_in_a_batch_is_retried_alone(workers: ThreadPoolExecutor) -> None:
    def explain(uploads: Sequence[Upload], _: Options, __: int) -> list[Outcome]:
        lacking = UnreadableImage("truncated")
        lacking.__cause__ = MemoryError()
        return [outcome_of(b"whole")] if len(uploads) == 1 else [lacking] * len(uploads)

    async def run() -> list[str]:
        server = Server(explain, workers)
        return list(await asyncio.gather(server.ask(b"a"), server.ask(b"b")))

    assert awaited(run()) == ["whole", "whole"]


def test_an_error_of_the_image_itself_is_not_retried(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> None:
        server = Server(stub, workers)
        await asyncio.gather(server.ask(b"a"), server.ask(b"b"))

    awaited(run())

    assert len(stub.batches) == 1


async def running_and_waiting(server: Server, stub: Stub) -> "tuple[asyncio.Task[str], asyncio.Task[str]]":
    """Start an image, which runs until `stub.go_on` is set, and then one that waits for it."""
    stub.go_on.clear()
    running = server.start(b"first")
    await asyncio.to_thread(stub.began.wait, 20)
    waiting = server.start(b"gone")
    await server.waiting(1)
    return running, waiting


def test_a_disconnected_client_does_not_affect_the_others(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> str:
        server = Server(stub, workers, window_s=0)
        first, gone = await running_and_waiting(server, stub)
        last = server.start(b"last")
        await server.waiting(2)
        gone.cancel()
        await asyncio.sleep(0)
        stub.go_on.set()
        await first
        return await last

    assert awaited(run()) == "lastjet"


def test_images_of_a_client_that_has_disconnected_are_not_explained(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> None:
        server = Server(stub, workers, window_s=0)
        first, gone = await running_and_waiting(server, stub)
        gone.cancel()
        await server.waiting(0)
        stub.go_on.set()
        await first

    awaited(run())

    assert stub.batches == [[b"first"]]


def test_the_images_of_one_request_are_one_batch(stub: Stub, workers: ThreadPoolExecutor) -> None:
    images = [bytes([65 + n]) for n in range(5)]

    assert awaited(Server(stub, workers).ask_all(images)) == [f"{chr(65 + n)}jet" for n in range(5)]
    assert stub.batches == [images]


def test_if_one_image_of_a_request_fails_unexpectedly_the_others_are_forgotten(workers: ThreadPoolExecutor) -> None:
    def explain(uploads: Sequence[Upload], _: Options, __: int) -> list[Outcome]:
        raise RuntimeError("no")

    server = Server(explain, workers)

    with pytest.raises(RuntimeError, match="no"):
        awaited(server.ask_all([b"a", b"b"]))
    assert server.batcher.waiting == 0


def test_heavy_images_leave_a_worker_for_others(stub: Stub, workers: ThreadPoolExecutor) -> None:
    heavy = [grey(level, 18) for level in range(4)]  # of 324 pixels

    async def run() -> None:
        server = Server(stub, workers, pixels=1_000, batches=2, images=1, window_s=0)
        stub.go_on.clear()
        held = [server.start(image) for image in heavy]
        await asyncio.to_thread(stub.began.wait, 20)
        light = server.start(b"light")
        while len(stub.batches) < 2:
            await asyncio.sleep(0.001)
        stub.go_on.set()
        await asyncio.gather(light, *held)

    awaited(run())

    assert stub.batches[1] == [b"light"]
    assert sorted(stub.batches[2:]) == sorted(image for image in [[each] for each in heavy] if image != stub.batches[0])


def test_light_images_are_not_added_to_a_heavy_batch(stub: Stub, workers: ThreadPoolExecutor) -> None:
    server = Server(stub, workers, pixels=1_000, window_s=0)
    heavy = grey(1, 18)

    awaited(batch_behind_one(server, stub, (heavy, PLAIN), (b"a", PLAIN), (heavy, PLAIN), (b"b", PLAIN)))

    assert stub.batches[1:] == [[heavy, heavy], [b"a", b"b"]]


def test_jpeg_2000_costs_ten_times_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic_batching, "count_pixels", lambda *_: 7)

    assert dynamic_batching.cost(Upload("", START_OF_CODESTREAM), 100) == 70
    assert dynamic_batching.cost(Upload("", b"\x89PNG\r\n\x1a\n" + START_OF_CODESTREAM), 100) == 7
    assert dynamic_batching.cost(Upload("", b"x"), 5) == 5

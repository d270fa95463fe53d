"""Concurrent images -> batches: which, how large, and who hears what."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from heatlens.errors import HeatlensError, RequestImagesTooLarge, TooManyPasses, UnreadableImage
from heatlens.results import Outcome
from heatlens.types import Options, Upload
from heatlens_web.dynamic_batching import Bounds, DynamicBatcher, Explain
from tests.support.coroutines import awaited
from tests.support.staged import grey

LONG = 3600.0  # seconds that no test waits: who waits for the window never answers
PLAIN, HOT = Options(), Options(colormap="hot")
Run = Callable[[DynamicBatcher], Awaitable[object]]


class Stub:
    """An explainer whose outcome is the image's own bytes, and that notes its batches."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, uploads: Sequence[Upload], options: Options) -> list[Outcome]:
        self.batches.append([upload.data for upload in uploads])
        self.began.set()
        assert self.go_on.wait(20)
        return [said(upload.data + options.colormap.encode()) for upload in uploads]


def said(data: bytes) -> Outcome:
    return UnreadableImage(data.decode("latin-1"))


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


class Door:
    """Requests that come and go; `crowd` are inside and send no image yet."""

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
        self.batcher = DynamicBatcher(explain, workers, bounds, in_flight=lambda: self.in_flight + self.crowd)

    async def ask(self, data: bytes, options: Options = PLAIN) -> str:
        self.in_flight += 1
        try:
            return str(await self.batcher.explain(Upload("", data), options))
        finally:
            self.in_flight -= 1

    def asked(self, data: bytes, options: Options = PLAIN) -> "asyncio.Task[str]":
        return asyncio.get_running_loop().create_task(self.ask(data, options))

    async def waiting(self, count: int) -> None:
        while self.batcher.waiting != count:
            await asyncio.sleep(0.001)


async def behind_one(door: Door, stub: Stub, *images: tuple[bytes, Options]) -> list[str]:
    """Ask for these while the only worker is at another, then let it go on."""
    stub.go_on.clear()
    first = door.asked(b"first")
    await asyncio.to_thread(stub.began.wait, 20)
    tasks = []
    for count, (data, options) in enumerate(images, start=1):
        tasks.append(door.asked(data, options))
        await door.waiting(count)
    stub.go_on.set()
    return [await first, *[await task for task in tasks]]


def test_one_alone_waits_for_nobody(stub: Stub, workers: ThreadPoolExecutor) -> None:
    assert awaited(Door(stub, workers).ask(b"a")) == "ajet"
    assert stub.batches == [[b"a"]]


def test_all_who_are_inside_are_one_batch_and_each_hears_of_its_own(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> list[str]:
        door = Door(stub, workers)
        return await asyncio.gather(*[door.ask(bytes([65 + n])) for n in range(8)])

    assert awaited(run()) == [f"{chr(65 + n)}jet" for n in range(8)]
    assert [sorted(batch) for batch in stub.batches] == [[bytes([65 + n]) for n in range(8)]]


def test_who_is_inside_without_an_image_is_waited_for_no_longer_than_the_window(
    stub: Stub, workers: ThreadPoolExecutor
) -> None:
    door = Door(stub, workers, window_s=0.001)
    door.crowd = 1

    assert awaited(door.ask(b"a")) == "ajet"


def test_while_others_are_inside_an_image_waits(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> None:
        door = Door(stub, workers)
        door.crowd = 1
        first = door.asked(b"a")
        await door.waiting(1)
        assert stub.batches == []
        door.crowd = 0
        await asyncio.gather(first, door.asked(b"b"))

    awaited(run())

    assert [sorted(batch) for batch in stub.batches] == [[b"a", b"b"]]


def test_what_comes_while_the_workers_are_busy_is_one_batch(stub: Stub, workers: ThreadPoolExecutor) -> None:
    door = Door(stub, workers, window_s=0)

    answers = awaited(behind_one(door, stub, (b"a", PLAIN), (b"b", PLAIN), (b"c", PLAIN)))

    assert answers == ["firstjet", "ajet", "bjet", "cjet"]
    assert stub.batches == [[b"first"], [b"a", b"b", b"c"]]


def test_a_batch_has_no_more_images_than_it_may(stub: Stub, workers: ThreadPoolExecutor) -> None:
    door = Door(stub, workers, images=2, window_s=0)

    awaited(behind_one(door, stub, *[(bytes([65 + n]), PLAIN) for n in range(5)]))

    assert stub.batches == [[b"first"], [b"A", b"B"], [b"C", b"D"], [b"E"]]


def test_a_batch_has_no_more_pixels_than_it_may(stub: Stub, workers: ThreadPoolExecutor) -> None:
    door = Door(stub, workers, pixels=200, window_s=0)  # an image below has 100; the last has 400 and will be refused
    images = [grey(1, 10), grey(2, 10), grey(3, 10), grey(4, 20)]

    awaited(behind_one(door, stub, *[(image, PLAIN) for image in images]))

    assert stub.batches[1:] == [[images[0], images[1], images[3]], [images[2]]]


def test_images_of_other_options_are_other_batches(stub: Stub, workers: ThreadPoolExecutor) -> None:
    door = Door(stub, workers, window_s=0)

    answers = awaited(behind_one(door, stub, (b"a", PLAIN), (b"b", HOT), (b"c", PLAIN), (b"d", HOT)))

    assert answers[1:] == ["ajet", "bhot", "cjet", "dhot"]
    assert stub.batches[1:] == [[b"a", b"c"], [b"b", b"d"]]


def test_no_more_batches_run_at_once_than_may(workers: ThreadPoolExecutor) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def explain(uploads: Sequence[Upload], _: Options) -> list[Outcome]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return [said(upload.data) for upload in uploads]

    async def run() -> None:
        door = Door(explain, workers, images=1, batches=2)
        await asyncio.gather(*[door.ask(b"a") for _ in range(12)])

    awaited(run())

    assert most == 2


@pytest.mark.parametrize(
    "trouble",
    [RequestImagesTooLarge("all of them"), TooManyPasses("all of them"), MemoryError(), RuntimeError()],
)
def test_a_failure_of_a_batch_is_found_out_one_by_one(trouble: Exception, workers: ThreadPoolExecutor) -> None:
    batches = []

    def explain(uploads: Sequence[Upload], _: Options) -> list[Outcome]:
        batches.append(len(uploads))
        if any(upload.data == b"poison" for upload in uploads):
            if isinstance(trouble, HeatlensError):
                return [trouble] * len(uploads)
            raise trouble
        return [said(upload.data) for upload in uploads]

    async def run() -> list[str | BaseException]:
        door = Door(explain, workers)
        return await asyncio.gather(*[door.ask(each) for each in (b"a", b"poison", b"b")], return_exceptions=True)

    first, poisoned, last = awaited(run())

    assert (first, last) == ("a", "b")
    assert poisoned == (str(trouble) if isinstance(trouble, HeatlensError) else trouble)
    assert batches == [3, 1, 1, 1]


def test_an_image_that_lacked_memory_among_others_is_tried_alone(workers: ThreadPoolExecutor) -> None:
    def explain(uploads: Sequence[Upload], _: Options) -> list[Outcome]:
        lacking = UnreadableImage("truncated")
        lacking.__cause__ = MemoryError()
        return [said(b"whole")] if len(uploads) == 1 else [lacking] * len(uploads)

    async def run() -> list[str]:
        door = Door(explain, workers)
        return list(await asyncio.gather(door.ask(b"a"), door.ask(b"b")))

    assert awaited(run()) == ["whole", "whole"]


def test_an_images_own_error_is_not_looked_into_again(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> None:
        door = Door(stub, workers)
        await asyncio.gather(door.ask(b"a"), door.ask(b"b"))

    awaited(run())

    assert len(stub.batches) == 1


def test_who_has_gone_spoils_nothing_for_the_others(stub: Stub, workers: ThreadPoolExecutor) -> None:
    async def run() -> str:
        door = Door(stub, workers, window_s=0)
        stub.go_on.clear()
        first = door.asked(b"first")
        await asyncio.to_thread(stub.began.wait, 20)
        gone = door.asked(b"gone")
        await door.waiting(1)
        last = door.asked(b"last")
        await door.waiting(2)
        gone.cancel()
        await asyncio.sleep(0)
        stub.go_on.set()
        await first
        return await last

    assert awaited(run()) == "lastjet"

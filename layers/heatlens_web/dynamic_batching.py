"""Run images of concurrent requests in engine batches, and let requests take turns.

A single request is not delayed. An image that arrives while other requests are in flight waits for theirs a few
milliseconds, and for a free worker. An image's result does not depend on the others of its batch. Images that are
expensive to decode never hold all workers.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from heatlens.batching import count_pixels, try_together
from heatlens.errors import HeatlensError, RequestImagesTooLarge, TooManyPasses
from heatlens.types import Options, Upload
from heatlens_web.decode_pool import may_be_jpeg_2000

HEAVY_SHARE = 4  # a batch of more than a fourth of the pixels that a batch may have is heavy
JPEG_2000_FACTOR = 10  # its decoders take this many times longer for a pixel than others (decision 21)


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with images: `run` answers a batch with one outcome for each, on a thread of its own.

    Attributes:
        run: Called with the images, their options and `share`.
        options: Those of all images.
        share: Images of the whole request; budgets of a request are shared among them.
    """

    run: Callable[[Sequence[Upload], Options, int], Sequence[Any]]
    options: Options
    share: int = 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """Images and pixels of a batch, batches at once, and seconds that an image waits for others."""

    images: int
    pixels: int
    batches: int
    window_s: float

    def is_heavy(self, cost: int) -> bool:
        """Whether a batch of this cost, in pixels, may hold a worker for long."""
        return cost > self.pixels // HEAVY_SHARE

    @property
    def heavy_batches(self) -> int:
        """Heavy batches at once: one worker is left for the others where there are several."""
        return max(1, self.batches - 1)


@dataclass(slots=True, eq=False)
class _Item:
    """An image that waits, and the request that it belongs to."""

    upload: Upload
    request: object
    cost: int
    answer: "asyncio.Future[Any]"


@dataclass(slots=True, eq=False)
class _Group:
    """Images with equal work that are run together; `over` once they have waited long enough."""

    work: Work
    heavy: bool
    over: bool = False
    items: list[_Item] = field(default_factory=list)

    @property
    def cost(self) -> int:
        return sum(item.cost for item in self.items)


class DynamicBatcher:
    """Groups that wait, and the batches that run. For one event loop."""

    def __init__(self, workers: Executor, bounds: Bounds, *, in_flight: Callable[[], int]) -> None:
        """Start with no image waiting.

        Args:
            workers: Threads, `bounds.batches` of them.
            bounds: Limits of a batch.
            in_flight: Counts the requests in flight, including those that are still received.
        """
        self._workers, self._bounds, self._in_flight = workers, bounds, in_flight
        self._groups: list[_Group] = []
        self._running: dict[asyncio.Task[None], _Group] = {}

    @property
    def waiting(self) -> int:
        """Images that wait for a worker."""
        return sum(len(group.items) for group in self._groups)

    async def run(self, uploads: Sequence[Upload], work: Work) -> list[Any]:
        """Run work on images of one request, in batches with those of others if there are any.

        Raises:
            Exception: Running one of the images alone raised it.
        """
        # A hostile header may take long to read; in the event loop, every request would wait.
        costs = await run_in_threadpool(self._costs, uploads)
        loop, request = asyncio.get_running_loop(), object()
        items = [
            _Item(upload, request, cost, loop.create_future()) for upload, cost in zip(uploads, costs, strict=True)
        ]
        for item in items:
            self._add(item, work)
        self._dispatch()
        try:
            return [await item.answer for item in items]
        finally:
            self._withdraw(items)

    def _costs(self, uploads: Sequence[Upload]) -> list[int]:
        return [cost(upload, self._bounds.pixels) for upload in uploads]

    def _add(self, item: _Item, work: Work) -> None:
        group = self._room(item, work)
        if group is None:
            group = _Group(work, self._bounds.is_heavy(item.cost))
            self._groups.append(group)
            asyncio.get_running_loop().call_later(self._bounds.window_s, self._close, group)
        group.items.append(item)

    def _room(self, item: _Item, work: Work) -> _Group | None:
        heavy = self._bounds.is_heavy(item.cost)
        most = self._bounds.pixels if heavy else self._bounds.pixels // HEAVY_SHARE
        return next(
            (
                group
                for group in self._groups
                if (group.work, group.heavy) == (work, heavy)
                and len(group.items) < self._bounds.images
                and group.cost + item.cost <= most
            ),
            None,
        )

    def _withdraw(self, items: Sequence[_Item]) -> None:
        """Forget images that nobody waits for any longer, such as those of a client that has disconnected."""
        for item in items:
            if not item.answer.done():
                item.answer.cancel()
            elif not item.answer.cancelled():
                item.answer.exception()  # nobody else reads that of a second image
        for group in self._groups:
            group.items = [item for item in group.items if not item.answer.done()]
        self._groups = [group for group in self._groups if group.items]
        self._dispatch()

    def _close(self, group: _Group) -> None:
        group.over = True
        self._dispatch()

    def _dispatch(self) -> None:
        """Start the groups that are due while workers are free, the oldest first."""
        while len(self._running) < self._bounds.batches:
            group = next((group for group in self._groups if self._may_start(group)), None)
            if group is None:
                return
            self._groups.remove(group)
            self._running[asyncio.get_running_loop().create_task(self._run(group))] = group

    def _may_start(self, group: _Group) -> bool:
        heavy = sum(running.heavy for running in self._running.values())
        if group.heavy and heavy >= self._bounds.heavy_batches:
            return False
        return group.over or len(group.items) == self._bounds.images or self._all_wait()

    def _all_wait(self) -> bool:
        """Whether every request in flight has an image that waits: there is no other to wait for."""
        return len({item.request for group in self._groups for item in group.items}) >= self._in_flight()

    async def _run(self, group: _Group) -> None:
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._workers, _run_group, group)
        finally:
            task = asyncio.current_task()
            assert task is not None, "it runs"
            del self._running[task]
        for item, outcome in zip(group.items, outcomes, strict=True):
            if item.answer.done():  # the client has disconnected
                continue
            if isinstance(outcome, Exception) and not isinstance(outcome, HeatlensError):
                item.answer.set_exception(outcome)
            else:
                item.answer.set_result(outcome)
        self._dispatch()


def cost(upload: Upload, most: int) -> int:
    """Estimate what an image costs, in pixels of common formats, `most` at most."""
    return min(most, count_pixels(upload, most) * (JPEG_2000_FACTOR if may_be_jpeg_2000(upload.data) else 1))


def _run_group(group: _Group) -> Sequence[Any]:
    work = group.work
    return try_together(
        lambda uploads: work.run(uploads, work.options, work.share),
        [item.upload for item in group.items],
        retry_alone=_caused_by_others,
    )


def _caused_by_others(error: Exception) -> bool:
    """Whether other images may be the cause: pixels, passes and memory are shared."""
    if isinstance(error, HeatlensError):
        shared = isinstance(error, RequestImagesTooLarge | TooManyPasses)
        return shared or isinstance(error.__cause__, MemoryError)
    return True

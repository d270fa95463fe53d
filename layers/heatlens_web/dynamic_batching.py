"""Explain images of concurrent requests in engine batches.

A single request is not delayed. An image that arrives while other requests are in flight waits for theirs a few
milliseconds, and for a free worker. An image's result does not depend on the others of its batch.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from heatlens.batching import count_pixels, try_together
from heatlens.errors import HeatlensError, RequestImagesTooLarge, TooManyPasses
from heatlens.results import Outcome
from heatlens.types import Options, Upload

Explain = Callable[[Sequence[Upload], Options], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Images and pixels of a batch, batches at once, and seconds that an image waits for others."""

    images: int
    pixels: int
    batches: int
    window_s: float


@dataclass(slots=True)
class _Group:
    """Images with equal options that are explained together; `over` once they have waited long enough."""

    options: Options
    over: bool = False
    pixels: int = 0
    uploads: list[Upload] = field(default_factory=list)
    answers: list[asyncio.Future[Outcome]] = field(default_factory=list)


class DynamicBatcher:
    """Groups that wait, and the batches that run. For one event loop."""

    def __init__(self, explain: Explain, workers: Executor, bounds: Bounds, *, in_flight: Callable[[], int]) -> None:
        """Start with no image waiting.

        Args:
            explain: Explains a batch, on a thread of its own.
            workers: Those threads, `bounds.batches` of them.
            bounds: Limits of a batch.
            in_flight: Counts the requests in flight, including those that are still received.
        """
        self._explain, self._workers, self._bounds, self._in_flight = explain, workers, bounds, in_flight
        self._groups: list[_Group] = []
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Images that wait to be explained."""
        return sum(len(group.uploads) for group in self._groups)

    async def explain(self, upload: Upload, options: Options) -> Outcome:
        """Explain one image, in a batch with others if there are any.

        Raises:
            Exception: Explaining this image alone raised it.
        """
        # A hostile header may take long to read; in the event loop, every request would wait.
        size = await run_in_threadpool(count_pixels, upload, self._bounds.pixels)
        loop = asyncio.get_running_loop()
        group = self._room(options, size)
        if group is None:
            group = _Group(options)
            self._groups.append(group)
            loop.call_later(self._bounds.window_s, self._close, group)
        answer: asyncio.Future[Outcome] = loop.create_future()
        group.uploads.append(upload)
        group.answers.append(answer)
        group.pixels += size
        self._dispatch()
        return await answer

    def _room(self, options: Options, size: int) -> _Group | None:
        return next(
            (
                group
                for group in self._groups
                if group.options == options
                and len(group.uploads) < self._bounds.images
                and group.pixels + size <= self._bounds.pixels
            ),
            None,
        )

    def _close(self, group: _Group) -> None:
        group.over = True
        self._dispatch()

    def _dispatch(self) -> None:
        """Start the groups that are due while workers are free, the oldest first."""
        while len(self._running) < self._bounds.batches:
            group = next((group for group in self._groups if self._due(group)), None)
            if group is None:
                return
            self._groups.remove(group)
            task = asyncio.get_running_loop().create_task(self._run(group))
            self._running.add(task)
            task.add_done_callback(self._done)

    def _due(self, group: _Group) -> bool:
        return group.over or len(group.uploads) == self._bounds.images or self.waiting == self._in_flight()

    async def _run(self, group: _Group) -> None:
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._workers, self._explain_group, group)
        for answer, outcome in zip(group.answers, outcomes, strict=True):
            if answer.done():  # the client has disconnected
                continue
            if isinstance(outcome, Exception) and not isinstance(outcome, HeatlensError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

    def _explain_group(self, group: _Group) -> Sequence[Outcome | Exception]:
        return try_together(
            lambda uploads: self._explain(uploads, group.options), group.uploads, retry_alone=_caused_by_others
        )

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._dispatch()


def _caused_by_others(error: Exception) -> bool:
    """Whether other images may be the cause: pixels, passes and memory are shared."""
    if isinstance(error, HeatlensError):
        shared = isinstance(error, RequestImagesTooLarge | TooManyPasses)
        return shared or isinstance(error.__cause__, MemoryError)
    return True

"""What a running server holds besides its models: admission, the batcher, and the health of the engines.

The plain server and the SageMaker endpoint share it. A Lambda function has none: it works on one request at a time.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from heatlens.batching import check_request_pixels, out_of_time
from heatlens.errors import HeatlensError, ModelError, ModelUnavailable
from heatlens.plan import check_plan, make_plan
from heatlens.results import Outcome
from heatlens.types import Options, Scores, Upload
from heatlens_web.admission import Admission
from heatlens_web.dynamic_batching import Bounds, DynamicBatcher, Work
from heatlens_web.engine_health import EngineHealth
from heatlens_web.settings import DEPLOYMENT_LIMITS
from heatlens_web.state import State

Uploads = Sequence[Upload | HeatlensError]


@dataclass(frozen=True, slots=True)
class ServerState:
    """Immutable after start, shared by all requests. For one event loop."""

    state: State
    admission: Admission
    batcher: DynamicBatcher
    health: EngineHealth

    def check(self) -> None:
        """Check that requests are answered.

        Raises:
            Stopping: The server is shutting down.
            ModelUnavailable: The default model is not loaded; the error gives the reason.
        """
        self.admission.check()
        if isinstance(self.state.loaded, ModelError):
            raise ModelUnavailable(f"the model is not loaded: {self.state.loaded.detail}")

    def check_ready(self) -> None:
        """Check that requests are answered, and succeed.

        Raises:
            Stopping: The server is shutting down.
            ModelUnavailable: The default model is not loaded, or an engine is broken.
        """
        self.check()
        self.health.check()

    async def explain(self, uploads: Uploads, options: Options) -> list[Outcome]:
        """Explain the images of one request, within its time; arguments and errors are those of `pipeline.explain`."""
        model, limits = self.state.models[options.model], self.state.limits
        check_plan(make_plan(model, options), len(uploads), limits)
        share = len(uploads) if "faithfulness" in options.include else 1  # the only budget of a request
        return await self._run(uploads, Work(self._explain, options, share))

    async def score(self, uploads: Uploads, options: Options) -> list[Scores | HeatlensError]:
        """Classify the images of one request, within its time; errors are those of `pipeline.score_all`."""
        return await self._run(uploads, Work(self._score, options))

    async def _run(self, uploads: Uploads, work: Work) -> list[Any]:
        measured = await run_in_threadpool(check_request_pixels, uploads, self.state.limits)
        return await in_turns(
            measured,
            lambda images: self.batcher.run(images, work),
            images=self.state.settings.batch_images,
            seconds=self.state.settings.request_s,
        )

    def _explain(self, uploads: Sequence[Upload], options: Options, share: int) -> Sequence[Outcome]:
        outcomes = self.state.explain(uploads, options, share=share)
        self.health.record(self.state.models[options.model], outcomes)
        return outcomes

    def _score(self, uploads: Sequence[Upload], options: Options, _: int) -> Sequence[Scores | HeatlensError]:
        return self.state.score(uploads, options)


async def in_turns(
    uploads: Uploads, run: Callable[[Sequence[Upload]], Any], *, images: int, seconds: float
) -> list[Any]:
    """Run the images of a request a few at a time: those of others have their turn in between.

    Args:
        uploads: Images; an error stands for one that could not be read, and is returned unchanged.
        run: Answers images with one outcome for each.
        images: Images at a time.
        seconds: Time for all of them; those that are not done by then are `OutOfTime`.
    """
    loop = asyncio.get_running_loop()
    until, slowest = loop.time() + seconds, 0.0
    outcomes: list[Any] = []
    for start in range(0, len(uploads), images):
        chunk, began = uploads[start : start + images], loop.time()
        ready = [upload for upload in chunk if isinstance(upload, Upload)]
        done = iter(await _in_time(run, ready, until - began, slowest))
        outcomes += [next(done) if isinstance(upload, Upload) else upload for upload in chunk]
        slowest = max(slowest, loop.time() - began)
    return outcomes


async def _in_time(
    run: Callable[[Sequence[Upload]], Any], uploads: Sequence[Upload], left_s: float, slowest_s: float
) -> Sequence[Any]:
    if not uploads:
        return []
    if left_s > slowest_s:
        try:
            async with asyncio.timeout(left_s):
                results: Sequence[Any] = await run(uploads)
                return results
        except TimeoutError:
            pass
    return [out_of_time() for _ in uploads]


async def current_server(request: Request) -> ServerState | None:
    """Return the server's state; a Lambda function has none."""
    server = request.app.state.server
    assert server is None or isinstance(server, ServerState)
    return server


def open_server(state: State) -> ServerState:
    """Make the state of a server around its models."""
    settings, limits = state.settings, state.limits
    largest = settings.limits(DEPLOYMENT_LIMITS["server"]).body_bytes  # an endpoint's requests have smaller ones
    held_bytes = settings.held_bytes or largest + limits.image_body_bytes
    admission = Admission(most=settings.in_flight, most_bytes=held_bytes, small_bytes=limits.image_body_bytes)
    bounds = Bounds(
        images=settings.batch_images,
        # Together they take no more memory than the largest single image may.
        pixels=min(limits.image_pixels, limits.request_pixels),
        batches=settings.concurrency,
        window_s=settings.gather_ms / 1000,
    )
    batcher = DynamicBatcher(state.workers, bounds, in_flight=lambda: admission.in_flight)
    return ServerState(state, admission, batcher, EngineHealth())

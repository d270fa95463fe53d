"""A request, received -> what was asked: of which model, of which images, how; and what becomes of it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from heatlens.batching import TimeLeft
from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens.types import Options, Upload
from heatlens_web.deliver import carry
from heatlens_web.errors import located
from heatlens_web.large_replies import Replies
from heatlens_web.request_id import request_id
from heatlens_web.schemas.inference import ModelOptions
from heatlens_web.state import State
from heatlens_web.upload import Received

Made = TypeVar("Made")
Work = Callable[[Sequence[Upload | HeatlensError], Options, TimeLeft | None], Made]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request on its way.

    `wish` holds the options that stood outside the body, at `place` as a mistake in them is reported; they win over
    those within.
    """

    request: Request
    start: float
    received: Received
    wish: ModelOptions
    place: tuple[str, ...] = ("query",)

    @property
    def state(self) -> State:
        return state_of(self.request)

    @property
    def options(self) -> Options:
        return self.wish.over(self.received.options)

    @property
    def request_id(self) -> str:
        return request_id(self.request)

    @property
    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.start) * 1000

    def model(self) -> Model:
        """The model that was asked.

        Raises:
            InvalidOption: There is none of this name.
            ModelUnavailable: It is not loaded.
        """
        with self.located():
            return self.state.models[self.options.model]

    def located(self) -> AbstractContextManager[None]:
        """An option that is refused within is reported where the client wrote it."""
        in_body = self.received.options.model_fields_set if self.received.options else set()
        return located((self.place, self.wish.model_fields_set), (("body",), in_body))

    async def done(self, work: Work[Made], options: Options | None = None) -> Made:
        """Let a worker do it, on a thread of its own, in the time there is."""
        images, left = self.received.uploads, time_left(self.request, self.state.settings.margin_s)
        loop = asyncio.get_running_loop()
        with self.located():
            return await loop.run_in_executor(self.state.workers, work, images, options or self.options, left)

    async def answered(self, response: Response) -> Response:
        """Send an answer as the door carries it; `deliver.carry` says how, and what it raises."""
        replies: Replies | None = self.request.app.state.replies
        if replies is None:
            return carry(response, self.state.limits, None)
        return await run_in_threadpool(
            carry, response, self.state.limits, lambda answer: replies.keep(self.request_id, answer)
        )


def state_of(request: Request) -> State:
    """What the door holds."""
    state = request.app.state.heatlens
    assert isinstance(state, State)
    return state


def time_left(request: Request, margin_s: float) -> TimeLeft | None:
    """Seconds until Lambda ends the invocation, less those that an answer takes; without Lambda there is no end."""
    context = request.scope.get("aws.context")
    if context is None:
        return None
    return lambda: context.get_remaining_time_in_millis() / 1000 - margin_s

"""What a handler knows of its request: the server's state, the images received, and the options that apply."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from heatlens.batching import TimeLeft
from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens.types import Options, Upload
from heatlens_web.large_replies import Replies, carry
from heatlens_web.problems import located
from heatlens_web.request_id import request_id
from heatlens_web.schemas.options import ModelOptions
from heatlens_web.server_state import ServerState, current_server
from heatlens_web.state import State
from heatlens_web.upload import Received

Result = TypeVar("Result")
Work = Callable[[Sequence[Upload | HeatlensError], Options, TimeLeft | None], Result]


async def current_state(request: Request) -> State:
    """Return what the server loaded at start."""
    state = request.app.state.heatlens
    assert isinstance(state, State)
    return state


CurrentState = Annotated[State, Depends(current_state)]
CurrentServer = Annotated[ServerState | None, Depends(current_server)]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One inference request after its body has been received.

    `outer_options` stood outside the body, at `place`, and win over those in the body.
    """

    request: Request
    state: State
    start: float
    received: Received
    outer_options: ModelOptions
    place: tuple[str, ...]

    @property
    def options(self) -> Options:
        return self.outer_options.over(self.received.options)

    @property
    def request_id(self) -> str:
        return request_id(self.request)

    @property
    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.start) * 1000

    def model(self, name: str | None) -> Model:
        """Return a model by its name, the default one without.

        Raises:
            InvalidOption: There is no model of this name.
            ModelUnavailable: It is not loaded.
        """
        with self.located():
            return self.state.models[name]

    def located(self) -> AbstractContextManager[None]:
        """Report an option that is refused within at the place where the client wrote it."""
        in_body = self.received.options.model_fields_set if self.received.options else set()
        return located((self.place, self.outer_options.model_fields_set), (("body",), in_body))

    @property
    def server(self) -> ServerState | None:
        server: ServerState | None = self.request.app.state.server
        return server

    async def run(self, work: Work[Result], options: Options) -> Result:
        """Run work on the images in a worker thread, within the time that is left."""
        images, left = self.received.uploads, time_left(self.request, self.state.settings.margin_s)
        run = partial(copy_context().run, work, images, options, left)  # with the request's id, for the log
        return await asyncio.get_running_loop().run_in_executor(self.state.workers, run)

    async def send(self, response: Response) -> Response:
        """Return the response, or a redirect to it where it is too large to send; see `carry`."""
        replies: Replies | None = self.request.app.state.replies
        if replies is None:
            return carry(response, self.state.limits, None)
        return await run_in_threadpool(
            carry, response, self.state.limits, lambda answer: replies.keep(self.request_id, answer)
        )


def time_left(request: Request, margin_s: float) -> TimeLeft | None:
    """Return a clock of the seconds until Lambda's timeout, less `margin_s`; `None` outside Lambda."""
    context = request.scope.get("aws.context")
    if context is None:
        return None
    return lambda: context.get_remaining_time_in_millis() / 1000 - margin_s

"""A request that holds one image -> its answer, for every endpoint that explains one."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from fastapi import Request, Response

from heatlens.errors import HeatlensError
from heatlens.results import Outcome
from heatlens.types import Options, Upload
from heatlens_web import deliver, upload
from heatlens_web.context import RequestContext, state_of
from heatlens_web.schemas.inference import HeatmapBody, HeatmapOptions

Explain = Callable[[Upload, Options], Awaitable[Outcome]]


async def explain_one(
    request: Request,
    wish: HeatmapOptions,
    *,
    raw: tuple[str, ...] = upload.RAW,
    explain: Explain | None = None,
    place: tuple[str, ...] = ("query",),
) -> Response:
    """Answer a request that holds one image.

    Args:
        request: As it came.
        wish: Options that stand outside the body, and win over those in it.
        raw: How content types begin whose body is the image itself.
        explain: Explains the image; by default this does it alone.
        place: Where `wish` stood, as a mistake in it is reported.
    """
    start, state = time.perf_counter(), state_of(request)
    state.check()
    received = await upload.receive_one(request, HeatmapBody, state.limits, raw=raw)
    asked = RequestContext(request, start, received, wish, place)
    model, options = asked.model(), asked.options
    picture = deliver.wanted_picture(request.headers.get("accept", "*/*"), options.format)
    if picture:
        options = replace(options, include=frozenset({"overlay"}), format=picture)
    with asked.located():
        if explain and isinstance(image := received.uploads[0], Upload):
            outcome = await explain(image, options)
        else:
            [outcome] = await asked.done(state.explain, options)
        if isinstance(outcome, HeatlensError):
            raise outcome
    if picture:
        return await asked.answered(deliver.deliver_picture(outcome, model))
    [name] = received.filenames
    answer = deliver.deliver_one(
        name, outcome, model, options, request_id=asked.request_id, elapsed_ms=asked.elapsed_ms
    )
    return await asked.answered(answer)

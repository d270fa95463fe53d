"""The one body of all inference routes: receive, choose model and options, explain or score, deliver."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from heatlens.dicom_out import check_format
from heatlens.errors import HeatlensError
from heatlens.results import Explanation, Outcome
from heatlens.types import Options, Scores
from heatlens_web import deliver, upload
from heatlens_web.accept import options_of
from heatlens_web.access import current_access
from heatlens_web.admission import admitted
from heatlens_web.audit import note, span
from heatlens_web.context import RequestContext
from heatlens_web.deliver import Results
from heatlens_web.disconnects import while_connected
from heatlens_web.schemas.bodies import HeatmapBody, OneImage
from heatlens_web.schemas.options import HeatmapOptions, ModelOptions
from heatlens_web.settings import ServerLimits
from heatlens_web.state import State
from heatlens_web.upload import Received

Result = TypeVar("Result", bound=Explanation | Scores)
Receive = Callable[[Request, ServerLimits], Awaitable[Received]]
Adapt = Callable[[Options], Options]
Work = Callable[[RequestContext, Options], Awaitable[Sequence[Result | HeatlensError]]]
Deliver = Callable[[Results[Result]], Response]

QUERY = ("query",)


async def infer(
    request: Request,
    state: State,
    outer_options: ModelOptions,
    *,
    receive: Receive,
    work: Work[Result],
    deliver: Deliver[Result],
    place: tuple[str, ...] = QUERY,
    adapt: Adapt | None = None,
) -> Response:
    """Answer one inference request.

    Args:
        request: The request; its body is not read yet.
        state: The server's.
        outer_options: Options outside the body; they win over those in it.
        receive: Reads the body.
        work: Explains or scores the images.
        deliver: Makes the response of the results.
        place: Where `outer_options` stood, as an error in them is reported.
        adapt: Changes the options before they are used.

    Raises:
        HeatlensError: The request cannot be answered.
    """
    start = time.perf_counter()
    state.check()
    access = current_access()
    received = await receive(request, state.limits)
    access.add_stage("receive", (time.perf_counter() - start) * 1000)
    held = admitted(request.scope)
    if held:
        held.work()
    note(request, items=span(0, len(received.filenames) - 1))
    context = RequestContext(request, state, start, received, outer_options, place)
    options = adapt(context.options) if adapt else context.options
    model = context.model(options.model)
    with context.located():
        access.model = model.card.name
        began = time.perf_counter()
        outcomes = await work(context, options)
        delivering = time.perf_counter()
        access.add_outcomes(
            model, options, [getattr(each, "known", each) for each in outcomes], (delivering - began) * 1000
        )
        results = Results(received.filenames, outcomes, model, options, context.request_id, context.elapsed_ms)
        # Encoding a large response takes seconds: in the event loop, health checks would wait for it.
        response = await run_in_threadpool(deliver, results)
    if held:
        held.respond(len(response.body))
    sent = await context.send(response)
    access.add_stage("deliver", (time.perf_counter() - delivering) * 1000)
    return sent


async def explain(context: RequestContext, options: Options) -> Sequence[Outcome]:
    """Explain the images of a request.

    Raises:
        InvalidOption: The format is not that of a DICOM object.
    """
    check_format(options)
    if server := context.server:
        return await while_connected(context.request, server.explain(context.received.uploads, options))
    return await context.run(context.state.explain, options)


async def score(context: RequestContext, options: Options) -> Sequence[Scores | HeatlensError]:
    """Classify the images of a request."""
    if server := context.server:
        return await while_connected(context.request, server.score(context.received.uploads, options))
    return await context.run(context.state.score, options)


async def explain_one(
    request: Request,
    state: State,
    outer_options: HeatmapOptions,
    *,
    body: type[OneImage] = HeatmapBody,
    place: tuple[str, ...] = QUERY,
) -> Response:
    """Answer a request with one image by JSON, or by the overlay or DICOM objects where `Accept` asks for them.

    Args:
        request: The request; its body is not read yet.
        state: The server's.
        outer_options: Options outside the body; they win over those in it.
        body: Schema of a JSON body.
        place: Where `outer_options` stood, as an error in them is reported.
    """
    accept = request.headers.get("accept", "*/*")
    return await infer(
        request,
        state,
        outer_options,
        receive=partial(upload.receive_one, body=body),
        adapt=partial(options_of, accept=accept),
        work=explain,
        deliver=partial(deliver.deliver_one, accept=accept),
        place=place,
    )

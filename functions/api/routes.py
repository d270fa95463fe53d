"""The endpoints: receive, explain, deliver."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from functions.api import deliver, upload
from functions.api.requests import request_id
from functions.api.schemas import (
    BatchHeatmapBody,
    BatchHeatmapResponse,
    Health,
    HeatmapBody,
    HeatmapOptions,
    HeatmapResponse,
    Problem,
    Ready,
)
from functions.api.state import State
from heatlens.errors import HeatlensError, ModelError
from heatlens.pipeline import Outcome
from heatlens.types import Options, Upload

Explain = Callable[[Upload, Options], Awaitable[Outcome]]

router = APIRouter(prefix="/api/inference")

_BINARY = {"type": "string", "format": "binary"}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (400, 413, 415, 422, 500, 503)
}


def _request_body(field: str, multipart: dict[str, Any], json: type[BaseModel]) -> dict[str, Any]:
    form = {"type": "object", "required": [field], "properties": {field: multipart}}
    content = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": _inlined(json.model_json_schema())},
        "image/*": {"schema": _BINARY},
        "application/dicom": {"schema": _BINARY},
    }
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A body the framework does not parse is described by hand, where `$defs` of its own would not resolve."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return definitions[node["$ref"].rsplit("/", 1)[1]]
        return {key: resolve(value) for key, value in node.items()}

    inlined = resolve(schema)
    assert isinstance(inlined, dict)
    return inlined


@router.post(
    "/heatmap",
    operation_id="heatmap",
    response_model=HeatmapResponse,
    responses=_PROBLEMS | {200: {"content": {"image/png": {"schema": _BINARY}}}},
    openapi_extra=_request_body("file", _BINARY, HeatmapBody),
)
async def heatmap(request: Request, query: Annotated[HeatmapOptions, Query()]) -> Response:
    """Explain one image."""
    return await explain_one(request, query)


@router.post(
    "/heatmap-batch",
    operation_id="heatmap_batch",
    response_model=BatchHeatmapResponse,
    responses=_PROBLEMS,
    openapi_extra=_request_body("files", {"type": "array", "items": _BINARY}, BatchHeatmapBody),
)
async def heatmap_batch(request: Request, query: Annotated[HeatmapOptions, Query()]) -> Response:
    """Explain several images; one that fails is an error in its own place."""
    start, state = time.perf_counter(), _state(request)
    model = state.model()
    received = await upload.receive_many(request, state.limits)
    options = query.over(received.options)
    outcomes = await _explain(state, received.uploads, options)
    return deliver.deliver_many(
        received.filenames,
        outcomes,
        model,
        options,
        limits=state.limits,
        request_id=request_id(request),
        elapsed_ms=_since(start),
    )


@router.get("/health", operation_id="health")
async def health(request: Request) -> Health:
    """Say whether the model is loaded, and if not, why."""
    loaded = _state(request).loaded
    if isinstance(loaded, ModelError):
        return Health(
            status="unhealthy", model_loaded=False, gpu_available=False, model_version=None, reason=loaded.detail
        )
    gpu = loaded.engine.device != "CPU"
    return Health(status="healthy", model_loaded=True, gpu_available=gpu, model_version=loaded.card.version)


@router.get("/ready", operation_id="ready", responses={503: _PROBLEMS[503]})
async def ready(request: Request) -> Ready:
    """Answer 200 when requests would be answered, 503 until then."""
    _state(request).model()
    return Ready(ready=True)


async def explain_one(
    request: Request, wish: HeatmapOptions, *, raw: tuple[str, ...] = upload.RAW, explain: Explain | None = None
) -> Response:
    """Answer a request that holds one image.

    Args:
        request: As it came.
        wish: Options that stand outside the body, and win over those in it.
        raw: How content types begin whose body is the image itself.
        explain: Explains the image; by default this does it alone.
    """
    start, state = time.perf_counter(), _state(request)
    model = state.model()
    received = await upload.receive_one(request, state.limits, raw=raw)
    options = wish.over(received.options)
    as_png = deliver.wants_png(request.headers.get("accept", "*/*"))
    if as_png:
        options = replace(options, include=frozenset({"overlay"}), format="png")
    if explain and isinstance(image := received.uploads[0], Upload):
        outcome = await explain(image, options)
    else:
        [outcome] = await _explain(state, received.uploads, options)
    if isinstance(outcome, HeatlensError):
        raise outcome
    if as_png:
        return deliver.deliver_png(outcome, model, limits=state.limits)
    return deliver.deliver_one(
        received.filenames[0],
        outcome,
        model,
        options,
        limits=state.limits,
        request_id=request_id(request),
        elapsed_ms=_since(start),
    )


async def _explain(state: State, uploads: Sequence[Upload | HeatlensError], options: Options) -> list[Outcome]:
    return await asyncio.get_running_loop().run_in_executor(state.workers, state.explain, uploads, options)


def _state(request: Request) -> State:
    state = request.app.state.heatlens
    assert isinstance(state, State)
    return state


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

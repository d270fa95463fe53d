"""The endpoints: receive, explain or classify, deliver."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from heatlens.errors import HeatlensError
from heatlens.render.encode import MEDIA_TYPES
from heatlens_web import deliver, upload
from heatlens_web.context import RequestContext, state_of
from heatlens_web.inference import explain_one
from heatlens_web.model_info import cards, health_of
from heatlens_web.openapi import BINARY, IMAGE_BASE64, OF_IMAGES, body_of, problems
from heatlens_web.schemas.inference import (
    BatchHeatmapBody,
    BatchHeatmapResponse,
    BatchPredictBody,
    BatchPredictResponse,
    Health,
    HeatmapBody,
    HeatmapOptions,
    HeatmapResponse,
    ModelCards,
    ModelOptions,
    PredictBody,
    PredictResponse,
    Ready,
)

router = APIRouter(prefix="/api/inference")

FILES = {"type": "array", "items": BINARY, "minItems": 1}
ONE = {"image_base64": IMAGE_BASE64, "filename": "scan.png"}
SEVERAL = {"images": [ONE]}


@router.post(
    "/heatmap",
    operation_id="heatmap",
    response_model=HeatmapResponse,
    responses=OF_IMAGES | {200: {"content": {each: {"schema": BINARY} for each in MEDIA_TYPES.values()}}},
    openapi_extra=body_of("file", BINARY, HeatmapBody, ONE | {"colormap": "hot", "alpha": 0.5}),
)
async def heatmap(request: Request, query: Annotated[HeatmapOptions, Query()]) -> Response:
    """Explain one image."""
    return await explain_one(request, query)


@router.post(
    "/heatmap-batch",
    operation_id="heatmap_batch",
    response_model=BatchHeatmapResponse,
    responses=OF_IMAGES,
    openapi_extra=body_of("files", FILES, BatchHeatmapBody, SEVERAL | {"include": ["map"]}),
)
async def heatmap_batch(request: Request, query: Annotated[HeatmapOptions, Query()]) -> Response:
    """Explain several images; one that fails is an error in its own place."""
    start, state = time.perf_counter(), state_of(request)
    state.check()
    asked = RequestContext(request, start, await upload.receive_many(request, BatchHeatmapBody, state.limits), query)
    model = asked.model()
    outcomes = await asked.done(state.explain)
    answer = deliver.deliver_many(
        asked.received.filenames,
        outcomes,
        model,
        asked.options,
        request_id=asked.request_id,
        elapsed_ms=asked.elapsed_ms,
    )
    return await asked.answered(answer)


@router.post(
    "/predict",
    operation_id="predict",
    response_model=PredictResponse,
    responses=OF_IMAGES,
    openapi_extra=body_of("file", BINARY, PredictBody, ONE),
)
async def predict(request: Request, query: Annotated[ModelOptions, Query()]) -> Response:
    """Say what the model says of one image: every class's probability and logit. Nothing is explained."""
    start, state = time.perf_counter(), state_of(request)
    state.check()
    asked = RequestContext(request, start, await upload.receive_one(request, PredictBody, state.limits), query)
    model = asked.model()
    [outcome] = await asked.done(state.score)
    if isinstance(outcome, HeatlensError):
        raise outcome
    [name] = asked.received.filenames
    answer = deliver.deliver_scores(
        name, outcome, model, asked.options, request_id=asked.request_id, elapsed_ms=asked.elapsed_ms
    )
    return await asked.answered(answer)


@router.post(
    "/predict-batch",
    operation_id="predict_batch",
    response_model=BatchPredictResponse,
    responses=OF_IMAGES,
    openapi_extra=body_of("files", FILES, BatchPredictBody, SEVERAL),
)
async def predict_batch(request: Request, query: Annotated[ModelOptions, Query()]) -> Response:
    """Say what the model says of several images; one that fails is an error in its own place."""
    start, state = time.perf_counter(), state_of(request)
    state.check()
    asked = RequestContext(request, start, await upload.receive_many(request, BatchPredictBody, state.limits), query)
    model = asked.model()
    outcomes = await asked.done(state.score)
    answer = deliver.deliver_many_scores(
        asked.received.filenames,
        outcomes,
        model,
        asked.options,
        request_id=asked.request_id,
        elapsed_ms=asked.elapsed_ms,
    )
    return await asked.answered(answer)


@router.get("/models", operation_id="models", responses=problems())
async def models(request: Request) -> ModelCards:
    """Show the cards of the models that are here."""
    return cards(state_of(request).models)


@router.get("/health", operation_id="health", responses=problems())
async def health(request: Request) -> Health:
    """Say whether the models are loaded, and if not, why."""
    return health_of(state_of(request).models)


@router.get("/ready", operation_id="ready", responses=problems(503))
async def ready(request: Request) -> Ready:
    """Answer 200 when requests would be answered that name no model, 503 until then."""
    found = state_of(request).models
    found[None]
    return Ready(ready=True, models={name: name in found.loaded for name in found.found})

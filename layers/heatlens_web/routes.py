"""The HTTP routes of the API."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from heatlens.render.encode import MEDIA_TYPES
from heatlens_web import deliver, upload
from heatlens_web.admission import admit
from heatlens_web.batches.limits import batch_limits
from heatlens_web.context import CurrentServer, CurrentState
from heatlens_web.inference import explain, explain_one, infer, score
from heatlens_web.model_info import cards, health_of
from heatlens_web.openapi import BINARY, IMAGE_BASE64, OF_IMAGES, body_of, problem_responses
from heatlens_web.related import DICOM, RELATED
from heatlens_web.schemas.bodies import BatchHeatmapBody, BatchPredictBody, HeatmapBody, PredictBody
from heatlens_web.schemas.health import Health, Ready
from heatlens_web.schemas.heatmap import BatchHeatmapResponse, HeatmapResponse
from heatlens_web.schemas.model_info import ModelCards
from heatlens_web.schemas.options import HeatmapOptions, ModelOptions
from heatlens_web.schemas.predict import BatchPredictResponse, PredictResponse

router = APIRouter(prefix="/api/inference")

FILES = {"type": "array", "items": BINARY, "minItems": 1}
ONE = {"image_base64": IMAGE_BASE64, "filename": "scan.png"}
SEVERAL = {"images": [ONE]}
OBJECTS = (DICOM, f'{RELATED}; type="{DICOM}"')


@router.post(
    "/heatmap",
    operation_id="heatmap",
    response_model=HeatmapResponse,
    responses=OF_IMAGES | {200: {"content": {each: {"schema": BINARY} for each in (*MEDIA_TYPES.values(), *OBJECTS)}}},
    dependencies=[Depends(admit)],
    openapi_extra=body_of("file", BINARY, HeatmapBody, ONE | {"colormap": "hot", "alpha": 0.5}),
)
async def heatmap(request: Request, state: CurrentState, query: Annotated[HeatmapOptions, Query()]) -> Response:
    """Explain one image."""
    return await explain_one(request, state, query)


@router.post(
    "/heatmap-batch",
    operation_id="heatmap_batch",
    response_model=BatchHeatmapResponse,
    responses=OF_IMAGES,
    dependencies=[Depends(admit)],
    openapi_extra=body_of("files", FILES, BatchHeatmapBody, SEVERAL | {"include": ["map"]}),
)
async def heatmap_batch(request: Request, state: CurrentState, query: Annotated[HeatmapOptions, Query()]) -> Response:
    """Explain several images; one that fails is an error in its own place."""
    receive = partial(upload.receive_many, body=BatchHeatmapBody)
    return await infer(request, state, query, receive=receive, work=explain, deliver=deliver.deliver_many)


@router.post(
    "/predict",
    operation_id="predict",
    response_model=PredictResponse,
    responses=OF_IMAGES,
    dependencies=[Depends(admit)],
    openapi_extra=body_of("file", BINARY, PredictBody, ONE),
)
async def predict(request: Request, state: CurrentState, query: Annotated[ModelOptions, Query()]) -> Response:
    """Classify one image: every class's probability and logit, without an explanation."""
    receive = partial(upload.receive_one, body=PredictBody)
    return await infer(request, state, query, receive=receive, work=score, deliver=deliver.deliver_scores)


@router.post(
    "/predict-batch",
    operation_id="predict_batch",
    response_model=BatchPredictResponse,
    responses=OF_IMAGES,
    dependencies=[Depends(admit)],
    openapi_extra=body_of("files", FILES, BatchPredictBody, SEVERAL),
)
async def predict_batch(request: Request, state: CurrentState, query: Annotated[ModelOptions, Query()]) -> Response:
    """Classify several images; one that fails is an error in its own place."""
    receive = partial(upload.receive_many, body=BatchPredictBody)
    return await infer(request, state, query, receive=receive, work=score, deliver=deliver.deliver_many_scores)


@router.get("/models", operation_id="models", responses=problem_responses())
async def models(request: Request, state: CurrentState) -> ModelCards:
    """Return the cards of this server's models, and the limits of staged batches."""
    return cards(state.models, batch_limits(request))


@router.get("/health", operation_id="health", responses=problem_responses())
async def health(state: CurrentState) -> Health:
    """Report whether the models are loaded, and if not, why."""
    return health_of(state.models)


@router.get("/ready", operation_id="ready", responses=problem_responses(503))
async def ready(state: CurrentState, server: CurrentServer) -> Ready:
    """Respond with 200 once the default model is ready, 503 until then, and while a server is shutting down."""
    models = state.models
    models[None]
    if server:
        server.check_ready()
    return Ready(ready=True, models={name: name in models.loaded for name in models.by_name})

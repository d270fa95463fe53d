"""KServe's first protocol, on the plain server: instances -> predictions, and explanations beside them.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens_web import deliver, upload
from heatlens_web.context import RequestContext, state_of
from heatlens_web.http_errors import ModelNotFound
from heatlens_web.openapi import IMAGE_BASE64, OF_IMAGES, json_body, problems
from heatlens_web.schemas.inference import (
    ExplainInstances,
    HeatmapOptions,
    InstanceExplanations,
    InstancePredictions,
    ModelOptions,
    ModelReady,
    ModelsList,
    PredictInstances,
)

Made = TypeVar("Made")


class ModelName(Convertor[str]):
    """A part of an address that ends where the verb begins."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("model", ModelName())
router = APIRouter(prefix="/v1/models")

INSTANCES = {"instances": [{"image_bytes": {"b64": IMAGE_BASE64}}]}


@router.get("", operation_id="kserve_list", responses=problems())
async def names(request: Request) -> ModelsList:
    """List the models that are here, the default one first."""
    return ModelsList(models=list(state_of(request).models.found))


@router.get("/{name:model}", operation_id="kserve_ready", responses=problems(404, 503))
async def ready(request: Request, name: str) -> ModelReady:
    """Answer 200 when requests of this model would be answered, 503 until then."""
    _find(request, name)
    return ModelReady(name=name, ready=True)


@router.post(
    "/{name:model}:predict",
    operation_id="kserve_predict",
    response_model=InstancePredictions,
    responses=OF_IMAGES | problems(404),
    openapi_extra=json_body(PredictInstances, INSTANCES),
)
async def predict(request: Request, name: str, query: Annotated[ModelOptions, Query()]) -> Response:
    """Say what a model says of each instance; if one cannot be read, which it is."""
    start, state = time.perf_counter(), state_of(request)
    model = _find(request, name)
    asked = RequestContext(request, start, await upload.receive_json(request, PredictInstances, state.limits), query)
    options = replace(asked.options, model=name)
    outcomes = _each(await asked.done(state.score, options))
    return await asked.answered(deliver.deliver_predictions(outcomes, model, options, request_id=asked.request_id))


@router.post(
    "/{name:model}:explain",
    operation_id="kserve_explain",
    response_model=InstanceExplanations,
    responses=OF_IMAGES | problems(404),
    openapi_extra=json_body(ExplainInstances, INSTANCES | {"include": "map"}),
)
async def explain(request: Request, name: str, query: Annotated[HeatmapOptions, Query()]) -> Response:
    """Explain each instance; if one cannot be, say which it is."""
    start, state = time.perf_counter(), state_of(request)
    model = _find(request, name)
    asked = RequestContext(request, start, await upload.receive_json(request, ExplainInstances, state.limits), query)
    options = replace(asked.options, model=name)
    outcomes = _each(await asked.done(state.explain, options))
    return await asked.answered(deliver.deliver_explanations(outcomes, model, options, request_id=asked.request_id))


def _find(request: Request, name: str) -> Model:
    models = state_of(request).models
    if name not in models.found:
        raise ModelNotFound(f"no model {name[:80]!r} here: {', '.join(models.found)}")
    return models[name]


def _each(outcomes: Sequence[Made | HeatlensError]) -> list[Made]:
    """The protocol has no place for the error of one instance, so the first of them is the answer."""
    made: list[Made] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, HeatlensError):
            raise type(outcome)(f"instance {index}: {outcome.detail}") from outcome
        made.append(outcome)
    return made

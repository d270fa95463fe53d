"""The routes of KServe's V1 protocol, on the plain server: predictions of instances, and explanations beside them.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from heatlens.model import Model
from heatlens_web import deliver, inference, upload
from heatlens_web.admission import admit
from heatlens_web.context import CurrentState
from heatlens_web.errors import ModelNotFound
from heatlens_web.openapi import IMAGE_BASE64, OF_IMAGES, json_body, problem_responses
from heatlens_web.schemas.kserve import (
    ExplainInstances,
    InstanceExplanations,
    InstancePredictions,
    ModelReady,
    ModelsList,
    PredictInstances,
)
from heatlens_web.schemas.options import HeatmapOptions, ModelOptions


class ModelName(Convertor[str]):
    """A path segment that ends at the colon before the verb."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("model", ModelName())
router = APIRouter(prefix="/v1/models")

INSTANCES = {"instances": [{"image_bytes": {"b64": IMAGE_BASE64}}]}


async def find_model(state: CurrentState, name: str) -> Model:
    """Find the model that the address names, before the body is read.

    Raises:
        ModelNotFound: There is no model of this name.
        ModelUnavailable: It is not loaded.
    """
    if name not in state.models.by_name:
        raise ModelNotFound(f"no model {name[:80]!r} here: {', '.join(state.models.by_name)}")
    return state.models[name]


@router.get("", operation_id="kserve_list", responses=problem_responses())
async def names(state: CurrentState) -> ModelsList:
    """List this server's models, the default one first."""
    return ModelsList(models=list(state.models.by_name))


@router.get(
    "/{name:model}",
    operation_id="kserve_ready",
    responses=problem_responses(404, 503),
    dependencies=[Depends(find_model)],
)
async def ready(name: str) -> ModelReady:
    """Respond with 200 once this model is ready, 503 until then."""
    return ModelReady(name=name, ready=True)


@router.post(
    "/{name:model}:predict",
    operation_id="kserve_predict",
    response_model=InstancePredictions,
    responses=OF_IMAGES | problem_responses(404),
    openapi_extra=json_body(PredictInstances, INSTANCES),
    dependencies=[Depends(find_model), Depends(admit)],
)
async def predict(
    request: Request, state: CurrentState, name: str, query: Annotated[ModelOptions, Query()]
) -> Response:
    """Classify each instance; if one fails, the error has its index."""
    return await inference.infer(
        request,
        state,
        query,
        receive=partial(upload.receive_json, body=PredictInstances),
        adapt=partial(replace, model=name),
        work=inference.score,
        deliver=deliver.deliver_predictions,
    )


@router.post(
    "/{name:model}:explain",
    operation_id="kserve_explain",
    response_model=InstanceExplanations,
    responses=OF_IMAGES | problem_responses(404),
    openapi_extra=json_body(ExplainInstances, INSTANCES | {"include": "map"}),
    dependencies=[Depends(find_model), Depends(admit)],
)
async def explain(
    request: Request, state: CurrentState, name: str, query: Annotated[HeatmapOptions, Query()]
) -> Response:
    """Explain each instance; if one fails, the error has its index."""
    return await inference.infer(
        request,
        state,
        query,
        receive=partial(upload.receive_json, body=ExplainInstances),
        adapt=partial(replace, model=name),
        work=inference.explain,
        deliver=deliver.deliver_explanations,
    )

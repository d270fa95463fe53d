"""The routes of the Open Inference Protocol on the plain server, which KServe calls V2: a map is an output tensor.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

import heatlens
from heatlens.errors import HeatlensError
from heatlens.explain.targets import parse_targets
from heatlens.model import Model
from heatlens.types import Options
from heatlens_web import inference, upload
from heatlens_web.admission import admit
from heatlens_web.context import CurrentServer, CurrentState, RequestContext
from heatlens_web.deliver import Results
from heatlens_web.kserve import find_model
from heatlens_web.openapi import IMAGE_BASE64, OF_IMAGES, json_body, problem_responses
from heatlens_web.problems import invalid
from heatlens_web.schemas.kserve import ModelReady
from heatlens_web.schemas.kserve_v2 import (
    InferRequest,
    InferResponse,
    Live,
    ModelMetadata,
    ServerMetadata,
    ServerReady,
)
from heatlens_web.schemas.options import HeatmapOptions
from heatlens_web.tensors import EXPLAINED, Row, metadata, tensor

router = APIRouter(prefix="/v2")

EXAMPLE = {
    "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [IMAGE_BASE64]}],
    "outputs": [{"name": "label"}, {"name": "saliency_map"}],
    "parameters": {"method": "layercam"},
}
Found = Annotated[Model, Depends(find_model)]


@router.get("", operation_id="v2_server", responses=problem_responses())
async def server() -> ServerMetadata:
    """Describe the server."""
    return ServerMetadata(name="heatlens", version=heatlens.__version__, extensions=[])


@router.get("/health/live", operation_id="v2_live", responses=problem_responses())
async def live() -> Live:
    """Respond with 200 while the server runs."""
    return Live()


@router.get("/health/ready", operation_id="v2_ready", responses=problem_responses(503))
async def ready(state: CurrentState, server: CurrentServer) -> ServerReady:
    """Respond with 200 once the default model is ready, 503 until then, and while the server is shutting down."""
    state.models[None]
    if server:
        server.check_ready()
    return ServerReady()


@router.get("/models/{name}", operation_id="v2_model", responses=problem_responses(404, 503))
async def model(name: str, found: Found) -> ModelMetadata:
    """Describe a model's input and its outputs."""
    return metadata(found, name)


@router.get(
    "/models/{name}/ready",
    operation_id="v2_model_ready",
    responses=problem_responses(404, 503),
    dependencies=[Depends(find_model)],
)
async def model_ready(name: str) -> ModelReady:
    """Respond with 200 once this model is ready, 503 until then."""
    return ModelReady(name=name, ready=True)


@router.post(
    "/models/{name}/infer",
    operation_id="v2_infer",
    response_model=InferResponse,
    responses=OF_IMAGES | problem_responses(404),
    openapi_extra=json_body(InferRequest, EXAMPLE),
    dependencies=[Depends(find_model), Depends(admit)],
)
async def infer(
    request: Request, state: CurrentState, name: str, query: Annotated[HeatmapOptions, Query()]
) -> Response:
    """Classify and explain images, as far as the outputs need it; if one fails, the error has its index."""
    return await inference.infer(
        request,
        state,
        query,
        receive=partial(upload.receive_json, body=InferRequest),
        adapt=partial(replace, model=name),
        work=_work,
        deliver=partial(_deliver, name=name),
    )


async def _work(context: RequestContext, options: Options) -> Sequence[Row | HeatlensError]:
    body = context.received.options
    assert isinstance(body, InferRequest), "the schema of the body"
    if parse_targets(options.target, options.contrast, context.model(options.model).card).several:
        raise invalid([{"loc": ["body", "target"], "msg": "one target in a request", "type": "several_targets"}])
    wanted = set(body.wanted)
    drawn = replace(options, include=frozenset({"overlay"} if "heatmap" in wanted else {"map"}), dicom=())
    explained = await inference.explain(context, drawn) if wanted & EXPLAINED else []
    scored = await inference.score(context, options) if "probabilities" in wanted or not explained else []
    return [_row(body, scores, explanation) for scores, explanation in zip_longest(scored, explained)]


def _row(body: InferRequest, scores: object, explanation: object) -> Row | HeatlensError:
    for each in (scores, explanation):
        if isinstance(each, HeatlensError):
            return each
    return Row(body, scores, explanation)  # type: ignore[arg-type]


def _deliver(results: Results[Row], *, name: str) -> Response:
    rows = results.instances()
    body = rows[0].body
    notes = [f"image {number}: {note}" for number, row in enumerate(rows) for note in row.notes]
    facts = {"request_id": results.request_id, "model_sha256": results.model.sha256, "notes": "; ".join(notes)}
    answer = InferResponse(
        model_name=name,
        model_version=results.model.card.version,
        id=body.id or results.request_id,
        parameters={key: fact for key, fact in facts.items() if fact},
        outputs=[tensor(output, rows) for output in body.wanted],
    )
    return Response(answer.model_dump_json(exclude_none=True), media_type=upload.JSON)

"""The SageMaker endpoint's application: `GET /ping`, `GET /execution-parameters` and `POST /invocations`.

The image is the body of an invocation, its options are in the custom attributes; the response is the API's.
"""

import math
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from functions.endpoint.attributes import CUSTOM_ATTRIBUTES, PLACE, read_attributes
from functions.endpoint.state import InferenceBackend, ServerState, load_server
from heatlens.results import Outcome
from heatlens.settings import MIB
from heatlens.types import Options, Upload
from heatlens_web import problems, upload
from heatlens_web.accept import check_accept
from heatlens_web.context import CurrentState, RequestContext
from heatlens_web.head import HeadAsGet
from heatlens_web.inference import explain_one
from heatlens_web.request_id import RequestId
from heatlens_web.schemas.invocation import InvocationBody
from heatlens_web.settings import ServerSettings
from heatlens_web.text_options import known_query

MOST_TRANSFORM_MB = 100  # that SageMaker allows for all concurrent records of a batch transform together


def create_app(settings: ServerSettings) -> FastAPI:
    """Build the application with its model loaded, or with the reason why it is not."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.server = server = load_server(settings)
    app.state.heatlens = server.state
    app.state.replies = None  # SageMaker delivers a response of any size
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestId)
    app.include_router(router, dependencies=[Depends(known_query)])
    problems.install(app, settings)
    return app


async def ready(request: Request) -> InferenceBackend:
    """Return the backend that answers the request; `ServerState.ready` says what it raises."""
    return _server(request).ready()


async def admitted(request: Request) -> AsyncIterator[None]:
    """Count a request as in flight until its response is sent."""
    server = _server(request)
    with server.admission.admit(upload.declared_bytes(request, most=server.state.limits.body_bytes)):
        yield


router = APIRouter()
Ready = Annotated[InferenceBackend, Depends(ready)]


@router.get("/ping")
async def ping(backend: Ready) -> JSONResponse:
    """Answer 200 while the server is healthy, also while it is busy: it waits for nothing."""
    backend.health.check()
    return JSONResponse({})


@router.get("/execution-parameters")
async def execution_parameters(request: Request) -> JSONResponse:
    """Tell a batch transform job what to send: images alone, each of any size that is accepted."""
    server = _server(request)
    largest = min(math.ceil(server.state.limits.file_bytes / MIB), MOST_TRANSFORM_MB)
    return JSONResponse(
        {
            "MaxConcurrentTransforms": max(1, min(server.state.settings.in_flight, MOST_TRANSFORM_MB // largest)),
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": largest,
        }
    )


@router.post("/invocations", dependencies=[Depends(ready), Depends(admitted)])
async def invocations(request: Request, state: CurrentState, backend: Ready) -> Response:
    """Explain one image, together with those of other requests.

    Accepted even while the engine is unhealthy: a success clears that state.
    """
    check_accept(", ".join(request.headers.getlist("accept")))
    attributes = read_attributes(request.headers.get(CUSTOM_ATTRIBUTES, ""))

    async def work(context: RequestContext, options: Options) -> list[Outcome]:
        [image] = context.received.uploads
        assert isinstance(image, Upload), "receive_one raises an error instead"
        return [await backend.batcher.explain(image, options)]

    return await explain_one(request, state, attributes, body=InvocationBody, work=work, place=PLACE)


def _server(request: Request) -> ServerState:
    server = request.app.state.server
    assert isinstance(server, ServerState)
    return server

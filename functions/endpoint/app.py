"""The SageMaker endpoint's application: `GET /ping`, `GET /execution-parameters` and `POST /invocations`.

The image is the body of an invocation, its options are in the custom attributes; the response is the API's.
"""

import math
from concurrent.futures import Future
from dataclasses import replace

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from functions.endpoint.attributes import CUSTOM_ATTRIBUTES, PLACE, read_attributes
from heatlens.registry import ModelRegistry
from heatlens.settings import MIB
from heatlens_web import problems
from heatlens_web.accept import check_accept
from heatlens_web.admission import admit
from heatlens_web.context import CurrentServer, CurrentState
from heatlens_web.head import HeadAsGet
from heatlens_web.inference import explain_one
from heatlens_web.observe import observe_requests
from heatlens_web.request_id import RequestId
from heatlens_web.schemas.invocation import InvocationBody
from heatlens_web.security_headers import SecurityHeaders
from heatlens_web.server_state import open_server
from heatlens_web.settings import ServerSettings
from heatlens_web.state import State, load_state
from heatlens_web.text_options import known_query

MOST_TRANSFORM_MB = 100  # that SageMaker allows for all concurrent records of a batch transform together


def create_app(settings: ServerSettings, loading: Future[ModelRegistry] | None = None) -> FastAPI:
    """Build the application with its model loaded, or with the reason why it is not.

    `loading` are models that a thread loads already; without it they are loaded here.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.replies = None  # SageMaker delivers a response of any size
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestId)
    app.add_middleware(SecurityHeaders)
    app.include_router(router, dependencies=[Depends(known_query)])
    problems.install(app, settings)
    observe_requests(app, server=True)
    app.state.heatlens = state = _load(settings, loading)
    app.state.server = open_server(state)
    return app


def _load(settings: ServerSettings, loading: Future[ModelRegistry] | None) -> State:
    """Load the models. A request has one image, and no longer body than that needs."""
    state = load_state(settings, "server", loading)
    limits = state.limits.model_copy(update={"body_bytes": state.limits.image_body_bytes})
    return replace(state, limits=limits)


router = APIRouter()


@router.get("/ping")
async def ping(server: CurrentServer) -> JSONResponse:
    """Answer 200 while the server is healthy, also while it is busy: it waits for nothing."""
    assert server is not None, "an endpoint is a server"
    server.check_ready()
    return JSONResponse({})


@router.get("/execution-parameters")
async def execution_parameters(state: CurrentState) -> JSONResponse:
    """Tell a batch transform job what to send: images alone, each of any size that is accepted."""
    largest = min(math.ceil(state.limits.file_bytes / MIB), MOST_TRANSFORM_MB)
    return JSONResponse(
        {
            "MaxConcurrentTransforms": max(1, min(state.settings.in_flight, MOST_TRANSFORM_MB // largest)),
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": largest,
        }
    )


async def check_loaded(server: CurrentServer) -> None:
    """Check that there is a model: the endpoint has no health route, so the error gives the reason why not."""
    assert server is not None, "an endpoint is a server"
    server.check()


@router.post("/invocations", dependencies=[Depends(check_loaded), Depends(admit)])
async def invocations(request: Request, state: CurrentState) -> Response:
    """Explain one image, together with those of other requests.

    Accepted even while the engine is unhealthy: a success clears that state.
    """
    check_accept(", ".join(request.headers.getlist("accept")))
    attributes = read_attributes(request.headers.get(CUSTOM_ATTRIBUTES, ""))
    return await explain_one(request, state, attributes, body=InvocationBody, place=PLACE)

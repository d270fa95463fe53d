"""SageMaker's requests -> the API's answers: admit, receive, gather, explain, deliver.

The image is the body, its options are in the custom attributes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from functions.endpoint.state import InferenceBackend, ServerState, open_door
from heatlens.errors import InvalidOption
from heatlens_web import errors, upload
from heatlens_web.inference import explain_one
from heatlens_web.request_id import RequestId
from heatlens_web.schemas.inference import LISTS, HeatmapOptions
from heatlens_web.settings import ServerSettings

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
PLACE = ("header", CUSTOM_ATTRIBUTES)
RAW = (*upload.RAW, "application/octet-stream")  # the last is for callers that do not know the type


def create_app(settings: ServerSettings) -> FastAPI:
    """Build the application with its model loaded, or with the reason why it is not."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.door = door = open_door(settings)
    app.state.heatlens = door.state
    app.state.replies = None  # SageMaker carries any answer to where it was asked to
    app.add_middleware(RequestId)
    app.include_router(router)
    errors.install(app, settings)
    return app


def ready(request: Request) -> InferenceBackend:
    """Give what answers the request; `Door.ready` says what it raises."""
    return _door(request).ready()


async def admitted(request: Request) -> AsyncIterator[None]:
    """Let a request in, until its answer is sent."""
    door = _door(request)
    with door.admission.admit(upload.declared_bytes(request, most=door.state.limits.body_bytes)):
        yield


router = APIRouter()
Ready = Annotated[InferenceBackend, Depends(ready)]


@router.get("/ping")
async def ping(bench: Ready) -> JSONResponse:
    """Answer 200 while requests would be answered, also while some are: it waits for nothing."""
    bench.pulse.check()
    return JSONResponse({})


@router.post("/invocations", dependencies=[Depends(ready), Depends(admitted)])
async def invocations(request: Request, bench: Ready) -> Response:
    """Explain one image; where the engine is broken too, for how else would it be found whole again."""
    wish = read_attributes(request.headers.get(CUSTOM_ATTRIBUTES, ""))
    return await explain_one(request, wish, raw=RAW, explain=bench.gatherer.explain, place=PLACE)


def read_attributes(text: str) -> HeatmapOptions:
    """Custom attributes, written as a query string -> options.

    Raises:
        InvalidOption: They are no query string, or a value cannot be.
    """
    try:
        values = parse_qs(text, keep_blank_values=True, strict_parsing=True) if text else {}
    except ValueError as error:
        wrong = {"loc": [], "msg": "not a query string such as colormap=hot&alpha=0.5", "type": "query"}
        raise _invalid([wrong]) from error
    # As the API reads a query: of an option given twice the last counts, but for those that are lists.
    given = {name: each if name in LISTS else each[-1] for name, each in values.items()}
    try:
        return HeatmapOptions.model_validate(given)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_context=False, include_input=False)) from error


def _invalid(found: Sequence[Mapping[str, Any]]) -> InvalidOption:
    return errors.invalid([{**each, "loc": [*PLACE, *each["loc"]]} for each in found])


def _door(request: Request) -> ServerState:
    door = request.app.state.door
    assert isinstance(door, ServerState)
    return door

"""SageMaker's requests -> the API's answers: the image is the body, its options are in the custom attributes."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from functions.api import errors, upload
from functions.api.requests import RequestId
from functions.api.routes import explain_one
from functions.api.schemas import HeatmapOptions
from functions.api.state import State, load_state
from heatlens.errors import InvalidOption, ModelError, ModelUnavailable
from heatlens.settings import Settings

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
# The second is for callers that do not know the type, the third is what a staged file may declare beside images.
RAW = (*upload.RAW, "application/octet-stream", "application/dicom")


def create_app(settings: Settings) -> FastAPI:
    """Build the application with its model loaded, or with the reason why it is not."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.heatlens = load_state(settings, "server")
    app.add_middleware(RequestId)
    app.include_router(router)
    errors.install(app, settings)
    return app


def _ready(request: Request) -> None:
    """Refuse everything while there is no model, and say why: nothing but these routes can be reached from outside."""
    state: State = request.app.state.heatlens
    if isinstance(state.loaded, ModelError):
        raise ModelUnavailable(f"the model is not loaded: {state.loaded.detail}")


router = APIRouter(dependencies=[Depends(_ready)])


@router.get("/ping")
async def ping() -> JSONResponse:
    """Answer 200 while requests would be answered, also while one is: it never waits for a worker."""
    return JSONResponse({})


@router.post("/invocations")
async def invocations(request: Request) -> Response:
    """Explain one image."""
    return await explain_one(request, read_attributes(request.headers.get(CUSTOM_ATTRIBUTES, "")), raw=RAW)


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
    # As the API reads a query: of an option given twice the last counts, only `include` is a list.
    given = {name: each if name == "include" else each[-1] for name, each in values.items()}
    try:
        return HeatmapOptions.model_validate(given)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_context=False, include_input=False)) from error


def _invalid(found: Sequence[Mapping[str, Any]]) -> InvalidOption:
    return errors.invalid([{**each, "loc": ["header", CUSTOM_ATTRIBUTES, *each["loc"]]} for each in found])

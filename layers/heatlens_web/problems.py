"""Assign HTTP statuses, and answer every exception with an RFC 9457 problem.

No response contains a traceback, a path or a library's message.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from heatlens.errors import (
    GenerationFailed,
    HeatlensError,
    InputError,
    InvalidOption,
    LimitError,
    Mistake,
    ModelError,
    ModelUnavailable,
    OutOfMemory,
    OutOfTime,
)
from heatlens.options import UNKNOWN_NAME
from heatlens_aws.errors import Busy, QuotaExceeded, StagingUnavailable, Stopping
from heatlens_web.audit import note
from heatlens_web.errors import (
    BatchConflict,
    BatchNotFound,
    BodyTooSlow,
    DecoderUnavailable,
    IdempotencyKeyReused,
    MissingApiKey,
    ModelNotFound,
    NotAcceptable,
    RequestError,
    UnknownPrincipal,
    UnsupportedContentType,
)
from heatlens_web.request_id import request_id
from heatlens_web.schemas.problem import Problem
from heatlens_web.security_headers import HEADERS
from heatlens_web.settings import ServerSettings

logger = logging.getLogger(__name__)

Loc = Sequence[str | int]
MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 10  # listed in one response
# Status and title of an error's class; a class that is not listed has those of the nearest class above it.
STATUSES: Mapping[type[HeatlensError], tuple[int, str]] = {
    HeatlensError: (500, "Internal error"),
    InputError: (400, "Unusable image"),
    RequestError: (400, "Bad request"),
    MissingApiKey: (401, "API key needed"),
    UnknownPrincipal: (403, "Unknown principal"),
    BatchNotFound: (404, "No such batch"),
    ModelNotFound: (404, "No such model"),
    BodyTooSlow: (408, "Request body too slow"),
    NotAcceptable: (406, "Not acceptable"),
    BatchConflict: (409, "Conflict with the batch's state"),
    LimitError: (413, "Too large"),
    UnsupportedContentType: (415, "Unsupported content type"),
    InvalidOption: (422, "Invalid request"),
    IdempotencyKeyReused: (422, "Idempotency key reused"),
    QuotaExceeded: (429, "Quota exceeded"),
    GenerationFailed: (500, "Generation failed"),
    ModelError: (500, "Unusable model"),
    Busy: (503, "Too many requests at once"),
    DecoderUnavailable: (503, "Decoder unavailable"),
    ModelUnavailable: (503, "Model not loaded"),
    StagingUnavailable: (503, "Staged batches unavailable"),
    Stopping: (503, "Shutting down"),
    OutOfMemory: (503, "Out of memory"),
    OutOfTime: (504, "Out of time"),
}
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def status_of(error: type[HeatlensError]) -> int:
    """Return the HTTP status that answers an error."""
    return _status_and_title(error)[0]


def _status_and_title(error: type[HeatlensError]) -> tuple[int, str]:
    return next(STATUSES[each] for each in error.__mro__ if each in STATUSES)


def install(app: FastAPI, settings: ServerSettings) -> None:
    """Install the handlers that answer every failure of a request with a problem."""

    async def ours(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            error = invalid(error.errors())
        if isinstance(error, MemoryError):
            logger.error("request %s ran out of memory", request_id(request), exc_info=error)
            error = OutOfMemory()
        assert isinstance(error, HeatlensError)
        headers = {"retry-after": str(settings.retry_after_s)} if error.retryable else {}
        if isinstance(error, InvalidOption) and not isinstance(error, InvalidRequest):
            error = _in_place(error, lambda _: ("query",))
        errors = error.errors if isinstance(error, InvalidRequest) else None
        status, title = _status_and_title(type(error))
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("request %s failed: %s", request_id(request), error, exc_info=error)
        return _problem(request, status, title, error.detail, error.code, headers=headers, errors=errors)

    app.add_exception_handler(HeatlensError, ours)
    app.add_exception_handler(RequestValidationError, ours)
    app.add_exception_handler(MemoryError, ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _unexpected)


class InvalidRequest(InvalidOption):
    """A value is wrong or a field is missing, each at its place in the request: a `loc` as FastAPI clients read it."""

    def __init__(self, locs: Sequence[Loc], mistakes: Sequence[Mistake]) -> None:
        super().__init__(*mistakes)
        self._locs = locs

    @property
    def errors(self) -> list[dict[str, object]]:
        """The `errors` of the response."""
        return [
            {"loc": list(loc), "msg": mistake.message, "type": mistake.kind}
            for loc, mistake in zip(self._locs, self.mistakes, strict=True)
        ]


def invalid(details: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """Turn the first few validation errors, as pydantic lists them, into one error."""
    listed = details[:MAX_ERRORS]
    locs = [_loc(detail) for detail in listed]
    mistakes = [Mistake(_named(loc), detail["msg"], detail["type"]) for loc, detail in zip(locs, listed, strict=True)]
    return InvalidRequest(locs, mistakes)


def _loc(detail: Mapping[str, Any]) -> Loc:
    """Return where a validation error is: that of an unknown name is located at its owner, and has the name."""
    loc: Loc = detail["loc"]
    return (*loc, detail["ctx"]["name"]) if detail["type"] == UNKNOWN_NAME else loc


def _named(loc: Sequence[object]) -> str:
    """Join a location by dots, without its first part (query or body) where there are others."""
    return ".".join(map(str, loc[1:] or loc))


def _in_place(error: InvalidOption, place: Callable[[str], Sequence[str]]) -> InvalidRequest:
    """Add to each mistake where its option stood."""
    return InvalidRequest([(*place(mistake.field), mistake.field) for mistake in error.mistakes], error.mistakes)


@contextmanager
def located(*places: tuple[tuple[str, ...], Collection[str]]) -> Iterator[None]:
    """Report an option that the core refuses where the client wrote it.

    Args:
        places: Where options stood, the strongest first, and the names of those that stood there.

    Raises:
        InvalidRequest: In place of the core's `InvalidOption`.
    """

    def place(field: str) -> Sequence[str]:
        return next((place for place, names in places if field in names), ("query",))

    try:
        yield
    except InvalidRequest:
        raise
    except InvalidOption as error:
        raise _in_place(error, place) from error


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = "http." + phrase.lower().replace(" ", "_")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(_allowed(request))}
    return _problem(request, error.status_code, phrase, str(error.detail), code, headers=headers)


def _allowed(request: Request) -> list[str]:
    """Return the methods of an address; the framework names only those of the first route that has it."""

    def answered(method: str) -> bool:
        scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in METHODS if answered(method)] or [
        "GET",
        "HEAD",
    ]  # static files are no routes


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed unexpectedly", request_id(request), exc_info=error)
    detail = f"an unexpected error, logged under request {request_id(request)}"
    # The framework answers unexpected errors outside of every middleware, so their headers are set here.
    headers = {"x-request-id": request_id(request), **HEADERS}
    status, title = _status_and_title(HeatlensError)
    return _problem(request, status, title, detail, HeatlensError.code, headers=headers)


def respond(request: Request, error: HeatlensError, headers: Mapping[str, str] | None = None) -> Response:
    """Make the response of an error outside of the application's handlers, in a middleware."""
    status, title = _status_and_title(type(error))
    return _problem(request, status, title, error.detail, error.code, headers=dict(headers or {}))


def _problem(
    request: Request,
    status: int,
    title: str,
    detail: str,
    code: str,
    *,
    headers: dict[str, str],
    errors: list[dict[str, object]] | None = None,
) -> Response:
    problem = Problem(
        type=f"urn:heatlens:error:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=request_id(request),
        errors=errors,
    )
    note(request, outcome=code)
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)

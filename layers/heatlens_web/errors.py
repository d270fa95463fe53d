"""Exceptions -> RFC 9457 problem answers: one mapper, one shape, never a traceback, a path or a library's words."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from heatlens.errors import HeatlensError, InvalidOption
from heatlens.settings import Settings
from heatlens_web.request_id import request_id
from heatlens_web.schemas.inference import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 10  # listed in one answer
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def install(app: FastAPI, settings: Settings) -> None:
    """Make every way a request can fail end in the one shape."""

    async def ours(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            error = invalid(error.errors())
        assert isinstance(error, HeatlensError)
        headers = {"retry-after": str(settings.retry_after_s)} if error.passing else {}
        errors = error.errors if isinstance(error, InvalidOption) else None
        if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("request %s failed: %s", request_id(request), error, exc_info=error)
        return _problem(request, error.status, error.title, error.detail, error.code, headers=headers, errors=errors)

    app.add_exception_handler(HeatlensError, ours)
    app.add_exception_handler(RequestValidationError, ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _unexpected)


def invalid(found: Sequence[Mapping[str, Any]]) -> InvalidOption:
    """Validation errors as pydantic lists them -> one error, of the first few."""
    errors: list[dict[str, object]] = [
        {"loc": list(each["loc"]), "msg": each["msg"], "type": each["type"]} for each in found[:MAX_ERRORS]
    ]
    detail = "; ".join(f"{_named(each['loc'])}: {each['msg']}" for each in found[:MAX_ERRORS])
    return InvalidOption(detail, errors)


def _named(loc: Sequence[object]) -> str:
    """A location in words; its first part is where it was, query or body, and told where there is no other."""
    return ".".join(map(str, loc[1:] or loc))


@contextmanager
def located(*places: tuple[tuple[str, ...], Collection[str]]) -> Iterator[None]:
    """Let an option that the core refuses be reported where the client wrote it.

    Args:
        places: Where options stood, the strongest first, and the names of those that stood there.

    Raises:
        InvalidOption: The one that was raised within, with its places.
    """
    try:
        yield
    except InvalidOption as error:
        for each in error.errors:
            loc = each["loc"]
            assert isinstance(loc, list), "as the core writes them"
            place = next((place for place, names in places if loc[1] in names), ("query",))
            each["loc"] = [*place, *loc[1:]]
        raise


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = "http." + phrase.lower().replace(" ", "_")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(_allowed(request))}
    return _problem(request, error.status_code, phrase, str(error.detail), code, headers=headers)


def _allowed(request: Request) -> list[str]:
    """Methods of an address; the framework names only those of the first route that has it."""

    def answered(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in METHODS if answered(method)] or ["GET", "HEAD"]  # of files, which no route names


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed unexpectedly", request_id(request), exc_info=error)
    detail = f"an unexpected error, logged under request {request_id(request)}"
    # The framework answers what nobody foresaw from outside every middleware, so the id is set here.
    headers = {"x-request-id": request_id(request)}
    return _problem(request, HeatlensError.status, HeatlensError.title, detail, HeatlensError.code, headers=headers)


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
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)

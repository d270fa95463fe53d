"""The endpoints of staged batches: find the caller's batch, do what is asked, leave one audit line."""

import contextlib
import json
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import pydantic_core
from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message

from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens.options import as_json, as_query
from heatlens.plan import check_plan, make_plan
from heatlens.settings import Limits
from heatlens.types import Options
from heatlens_aws.errors import StagingUnavailable
from heatlens_aws.object_keys import is_batch_id
from heatlens_aws.settings import STAGED_LIMITS, AwsSettings
from heatlens_web import errors
from heatlens_web.batches.principal import principal
from heatlens_web.context import state_of
from heatlens_web.http_errors import BodyTooLarge, MalformedBody, UnsupportedContentType
from heatlens_web.openapi import problems
from heatlens_web.request_id import request_id
from heatlens_web.schemas.batches import (
    Backend,
    BatchCreate,
    BatchCreated,
    BatchStatus,
    FilesDeclaration,
    MissingLinks,
    ResultsPage,
    UploadLinks,
)

if TYPE_CHECKING:  # it loads boto3
    from heatlens_aws.records import Batch
    from heatlens_web.batches.service import BatchService

audit = logging.getLogger("heatlens.audit")

PAGE, MAX_PAGE = 100, 200  # results
MAX_BODY_BYTES = 2_000_000  # 500 declared files with long names have half a megabyte
MAX_ATTRIBUTES = 1024  # letters of options that SageMaker hands on
POLL_S = 5  # counts are as old as that at most

Answer = TypeVar("Answer", UploadLinks, MissingLinks, ResultsPage)
Start = Annotated[int, Query(ge=0, description="Number of the first file.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Files at most.")]


def open_staging(settings: AwsSettings) -> "BatchService | None":
    """The desk where staging is set up; only then is boto3 loaded."""
    if not settings.ready:
        return None
    from heatlens_web.batches.service import open_desk

    return open_desk(settings)


def make_audit_heard() -> None:
    """Let audit lines through: Lambda's root logger has a handler and a higher level, a plain server's has none."""
    audit.setLevel(logging.INFO)
    if not audit.hasHandlers():
        audit.addHandler(logging.StreamHandler())


class _BatchRoute(APIRoute):
    """A route that answers nothing without a desk, and reads its body within a limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            _desk(request)
            body = await _read(request)

            async def replay() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, replay))

        return guarded


async def _read(request: Request) -> bytes:
    """The body, which must be JSON if there is one."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge(f"the request body is over the limit of {MAX_BODY_BYTES:,} bytes")
    except ClientDisconnect as error:
        raise MalformedBody("the client went away before the body was whole") from error
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedContentType("send application/json")
    try:
        _ = body and pydantic_core.from_json(body)
    except ValueError as error:
        raise MalformedBody("the body is not JSON") from error
    return bytes(body)


router = APIRouter(
    prefix="/api/inference/batches", route_class=_BatchRoute, responses=problems(400, 403, 404, 409, 413, 415, 422, 503)
)


@router.post("", operation_id="batch_create", status_code=HTTPStatus.CREATED)
def create(request: Request, wish: BatchCreate) -> BatchCreated:
    """Open a batch for a number of files, or one that repeats what did not succeed in a finished one."""
    with _access(request, "batch.create") as access:
        state = state_of(request)
        if wish.retry_of is not None:
            old = access.desk.find(access.who, wish.retry_of)
            with errors.located((("body",), {"model"})):
                model = state.models[old.options.get("model")]
            created = access.desk.retry(access.who, wish.retry_of, model=model.sha256)
        else:
            with errors.located((("body",), wish.model_fields_set)):
                model = state.models[wish.model]
            assert wish.expected_files is not None, "validated"
            with errors.located((("body",), wish.model_fields_set)):
                options = _checked(wish.over(None), model, state.settings.limits(STAGED_LIMITS), backend=wish.backend)
            created = access.desk.create(
                access.who,
                expected=wish.expected_files,
                options=_kept(options),
                model=model.sha256,
                backend=wish.backend,
            )
        access.batch_id = created.batch_id
        return created


@router.post("/{batch_id}/files", operation_id="batch_declare")
def declare(request: Request, batch_id: str, declaration: FilesDeclaration) -> UploadLinks:
    """Declare files and get the link to upload each."""
    with _access(request, "batch.declare", batch_id) as access:
        return access.of(access.desk.declare(access.batch(), declaration.files))


@router.post("/{batch_id}/files/links", operation_id="batch_links")
def links(request: Request, batch_id: str, start: Start = 0) -> MissingLinks:
    """Get new links for what was not uploaded yet."""
    with _access(request, "batch.links", batch_id) as access:
        return access.of(access.desk.links(access.batch(), start=start))


@router.post("/{batch_id}/close", operation_id="batch_close")
def close(request: Request, response: Response, batch_id: str) -> BatchStatus:
    """Say that no more files come; what was not uploaded is missing."""
    with _access(request, "batch.close", batch_id) as access:
        return _told_when(response, access.desk.close(access.batch()))


@router.get("/{batch_id}", operation_id="batch_status")
def status(request: Request, response: Response, batch_id: str) -> BatchStatus:
    """Say how far a batch is; `Retry-After` says when to ask again."""
    with _access(request, "batch.status", batch_id) as access:
        return _told_when(response, access.desk.status(access.batch()))


@router.get("/{batch_id}/results", operation_id="batch_results")
def results(request: Request, batch_id: str, start: Start = 0, limit: Limit = PAGE) -> ResultsPage:
    """Read what the files came to, in the order of their numbers."""
    with _access(request, "batch.results", batch_id) as access:
        return access.of(access.desk.results(access.batch(), start=start, limit=limit))


@router.delete(
    "/{batch_id}",
    operation_id="batch_delete",
    response_model=BatchStatus,
    responses={204: {"description": "Everything of the batch is erased."}},
)
def delete(
    request: Request,
    response: Response,
    batch_id: str,
    purge: Annotated[bool, Query(description="Erase all objects and rows too.")] = False,  # noqa: FBT002 - a query
) -> BatchStatus | Response:
    """Stop what has not started."""
    with _access(request, "batch.purge" if purge else "batch.cancel", batch_id) as access:
        if purge:
            access.desk.purge(access.batch())
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return _told_when(response, access.desk.cancel(access.batch()))


@dataclass(slots=True)
class _Access:
    """One caller at the desk."""

    desk: "BatchService"
    who: str
    batch_id: str | None
    items: str | None = None

    def of(self, answer: Answer) -> Answer:
        """Note which files an answer speaks of: the first number and the last."""
        files = answer.results if isinstance(answer, ResultsPage) else answer.files
        self.items = f"{files[0].number}-{files[-1].number}" if files else None
        return answer

    def batch(self) -> "Batch":
        assert self.batch_id is not None, "the route has one"
        return self.desk.find(self.who, self.batch_id)


@contextlib.contextmanager
def _access(request: Request, action: str, batch_id: str | None = None) -> Iterator[_Access]:
    """Let the caller in and write down how it went; a text that is no batch's id is not repeated."""
    access = _Access(_desk(request), "", batch_id)
    outcome = "internal"
    try:
        access.who = principal(request)
        with access.desk.outages():
            yield access
        outcome = "ok"
    except HeatlensError as error:
        outcome = error.code
        raise
    finally:
        line = {
            "who": access.who or None,
            "action": action,
            "batch": access.batch_id if access.batch_id and is_batch_id(access.batch_id) else None,
            "items": access.items,
            "outcome": outcome,
            "request_id": request_id(request),
        }
        audit.info(json.dumps(line))


def _told_when(response: Response, status: BatchStatus) -> BatchStatus:
    if status.state in ("open", "running"):
        response.headers["retry-after"] = str(POLL_S)
    return status


def _checked(options: Options, model: Model, limits: Limits, *, backend: Backend) -> Options:
    """Options that the worker will be able to do, an index in them replaced by its label.

    Raises:
        InvalidOption: The model has no such class, layer or method, or they are more than a file's row or an
            endpoint's header can hold.
        TooManyPasses: A file would cost more runs of the network than a worker does.
    """
    asked = make_plan(model, options)
    if asked.request.several:
        raise errors.invalid([_wrong("target", "one for each file: make a batch for every target")])
    check_plan(asked, 1, limits)
    named = replace(
        options,
        target=tuple(_label(each, model) for each in options.target[:1]),
        contrast=_label(options.contrast, model) if options.contrast is not None else None,
    )
    if backend == "sagemaker" and len(as_query(named)) > MAX_ATTRIBUTES:
        raise errors.invalid([_wrong("backend", f"options of more than {MAX_ATTRIBUTES} letters in a query")])
    return named


def _kept(options: Options) -> dict[str, Any]:
    """What a row keeps of them: nothing of the original, which no result of a batch has."""
    return {name: value for name, value in as_json(options).items() if name not in ("original", "strip_original")}


def _label(named: str | int, model: Model) -> str:
    """A text means the same in a query as in JSON; a number could be taken for a label there."""
    return model.card.classes[named] if isinstance(named, int) else named


def _wrong(name: str, message: str) -> dict[str, Any]:
    return {"loc": ["body", name], "msg": message, "type": f"unusable_{name}"}


def _desk(request: Request) -> "BatchService":
    desk: BatchService | None = request.app.state.desk
    if desk is None:
        raise StagingUnavailable("staged batches are not set up on this server", retryable=False)
    return desk

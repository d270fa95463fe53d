"""The HTTP routes of staged batches: find the caller's batch, act, note it for the audit line."""

import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import pydantic_core
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from heatlens.dicom_out import check_format
from heatlens.errors import InvalidOption
from heatlens.explain.targets import name_classes
from heatlens.model import Model
from heatlens.options import as_json, as_query, from_json
from heatlens.plan import check_plan, make_plan
from heatlens.settings import Limits
from heatlens.types import Options
from heatlens_aws.errors import StagingUnavailable
from heatlens_aws.invocation_time import check_time
from heatlens_aws.settings import STAGED_LIMITS, AwsSettings
from heatlens_web import problems, upload
from heatlens_web.audit import note, span
from heatlens_web.context import CurrentState
from heatlens_web.errors import MalformedBody
from heatlens_web.openapi import problem_responses
from heatlens_web.principal import principal
from heatlens_web.repeated import repeated_keys
from heatlens_web.schemas.batches import (
    MAX_PAGE,
    Backend,
    BatchCreate,
    BatchCreated,
    BatchStatus,
    FilesDeclaration,
    MissingLinks,
    ResultsPage,
    UploadLinks,
)
from heatlens_web.state import State

if TYPE_CHECKING:  # it loads boto3
    from heatlens_aws.creation import RequestKey
    from heatlens_aws.records import Batch
    from heatlens_aws.tombstones import Tombstone
    from heatlens_web.batches.service import BatchService

PAGE = 100  # results
MAX_BODY_BYTES = 2_000_000  # 500 declared files with long names have half a megabyte
MAX_ATTRIBUTES = 1024  # characters of custom attributes that SageMaker passes on
POLL_S = 5  # seconds in Retry-After; counts are that old at most

Answer = TypeVar("Answer", UploadLinks, MissingLinks, ResultsPage)
Start = Annotated[int, Query(ge=0, description="Number of the first file.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="A random text, such as a UUID. A repetition within 24 hours gets the first answer.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Files at most.")]


def open_staging(settings: AwsSettings) -> "BatchService | None":
    """Return the service where staging is set up; only then is boto3 loaded."""
    if not settings.ready:
        return None
    from heatlens_web.batches.service import open_service

    return open_service(settings)


class _BatchRoute(APIRoute):
    """A route that needs staging to be set up, and reads its body within a limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            _service(request)
            body = await _read(request)
            if not self.body_field and body.strip() not in (b"", b"{}", b"null"):
                raise MalformedBody("this address takes no body: send none")

            async def replay() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, replay))

        return guarded


async def _read(request: Request) -> bytes:
    """Read the body, which must be JSON if there is one."""
    body = bytes(await upload.read_json(upload.read_limited(request, MAX_BODY_BYTES)))
    if body:
        upload.check_json(request)
    try:
        _ = body and pydantic_core.from_json(body)
    except ValueError as error:
        raise MalformedBody("the body is not JSON") from error
    if repeated := repeated_keys(body, place=("body",)):
        raise problems.invalid(repeated)
    return body


router = APIRouter(
    prefix="/api/inference/batches",
    route_class=_BatchRoute,
    responses=problem_responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
)


@router.post("", operation_id="batch_create", status_code=HTTPStatus.CREATED, responses=problem_responses(422, 429))
def create(
    request: Request, state: CurrentState, body: BatchCreate, idempotency_key: IdempotencyKey = None
) -> BatchCreated:
    """Open a batch for a number of files, or one that repeats the failed files of a finished batch."""
    with _access(request, "batch.create") as access:
        key = access.key(idempotency_key, body)
        if (first := access.batches.replay(key)) is not None:
            created = first
        elif body.retry_of is not None:
            old = access.batches.find(access.who, body.retry_of)
            with problems.located((("body",), {"model"})):
                model = state.models[old.options.get("model")]
            _check_time_of_retry(old.options, model, state, access)
            created = access.batches.retry(access.who, body.retry_of, model=model.sha256, key=key)
        else:
            with problems.located((("body",), body.model_fields_set)):
                model = state.models[body.model]
            assert body.expected_files is not None, "validated"
            with problems.located((("body",), body.model_fields_set)):
                options = _checked(body.over(None), model, state.settings.limits(STAGED_LIMITS), backend=body.backend)
            if body.backend == "lambda":
                _check_time(options, model, state, access)
            created = access.batches.create(
                access.who,
                expected=body.expected_files,
                options=_stored(options),
                model=model.sha256,
                backend=body.backend,
                key=key,
            )
        note(request, batch_id=created.batch_id)
        return created


@router.post("/{batch_id}/files", operation_id="batch_declare")
def declare(request: Request, batch_id: str, declaration: FilesDeclaration) -> UploadLinks:
    """Declare files and get the link to upload each."""
    with _access(request, "batch.declare", batch_id) as access:
        return access.of(access.batches.declare(access.batch(), declaration.files))


@router.post("/{batch_id}/files/links", operation_id="batch_links")
def links(request: Request, batch_id: str, start: Start = 0) -> MissingLinks:
    """Get new links for files that are not uploaded yet."""
    with _access(request, "batch.links", batch_id) as access:
        return access.of(access.batches.links(access.batch(), start=start))


@router.post("/{batch_id}/close", operation_id="batch_close")
def close(request: Request, response: Response, batch_id: str) -> BatchStatus:
    """Declare no more files; those that were not uploaded become missing."""
    with _access(request, "batch.close", batch_id) as access:
        return _with_retry_after(response, access.batches.close(access.batch()))


@router.get("/{batch_id}", operation_id="batch_status")
def status(request: Request, response: Response, batch_id: str) -> BatchStatus:
    """Report the progress of a batch; `Retry-After` says when to ask again."""
    with _access(request, "batch.status", batch_id) as access:
        return _with_retry_after(response, access.batches.status(access.batch_or_tombstone()))


@router.get("/{batch_id}/results", operation_id="batch_results")
def results(request: Request, batch_id: str, start: Start = 0, limit: Limit = PAGE) -> ResultsPage:
    """Read the results of files, in the order of their numbers."""
    with _access(request, "batch.results", batch_id) as access:
        return access.of(access.batches.results(access.batch(), start=start, limit=limit))


@router.delete(
    "/{batch_id}",
    operation_id="batch_delete",
    responses={
        202: {"model": BatchStatus, "description": "The batch is purged: everything of it is being erased."},
    },
)
def delete(
    request: Request,
    response: Response,
    batch_id: str,
    purge: Annotated[bool, Query(description="Also erase all objects and rows.")] = False,  # noqa: FBT002 - a query
) -> BatchStatus:
    """Stop what has not started; a purge also erases everything, which the batch's state reports."""
    with _access(request, "batch.purge" if purge else "batch.cancel", batch_id) as access:
        batch = access.batch_or_tombstone()
        if purge:
            response.status_code = HTTPStatus.ACCEPTED
            return _with_retry_after(response, access.batches.purge(batch))
        return _with_retry_after(response, access.batches.cancel(batch))


@dataclass(slots=True)
class _Access:
    """One call about staged batches."""

    request: Request
    batches: "BatchService"
    who: str
    batch_id: str | None

    def of(self, answer: Answer) -> Answer:
        """Record which files a response is about."""
        files = answer.results if isinstance(answer, ResultsPage) else answer.files
        note(self.request, items=span(files[0].number, files[-1].number) if files else None)
        return answer

    def key(self, key: str | None, body: BatchCreate) -> "RequestKey | None":
        """Return the idempotency key of a request; every principal has keys of its own."""
        from heatlens_aws.creation import RequestKey

        return RequestKey.of(self.who, key, body.model_dump(mode="json", exclude_unset=True)) if key else None

    def batch(self) -> "Batch":
        assert self.batch_id is not None, "the route has one"
        return self.batches.find(self.who, self.batch_id)

    def batch_or_tombstone(self) -> "Batch | Tombstone":
        assert self.batch_id is not None, "the route has one"
        return self.batches.find_or_tombstone(self.who, self.batch_id)


@contextlib.contextmanager
def _access(request: Request, action: str, batch_id: str | None = None) -> Iterator[_Access]:
    """Identify the caller; what fails while AWS does not answer is an error that can be retried."""
    note(request, action=action)
    batches = _service(request)
    access = _Access(request, batches, principal(request), batch_id)
    with batches.outages():
        yield access


def _with_retry_after(response: Response, status: BatchStatus) -> BatchStatus:
    if status.state in ("open", "running", "purging"):
        response.headers["retry-after"] = str(POLL_S)
    return status


def _checked(options: Options, model: Model, limits: Limits, *, backend: Backend) -> Options:
    """Check that a worker can apply the options; name the method, and replace a class's index by its label.

    Raises:
        InvalidOption: The model has no such class, layer or method, the format is not that of a DICOM object, or the
            options do not fit a file's row or an endpoint's header.
        TooManyPasses: A file needs more runs of the network than a worker allows.
    """
    run = make_plan(model, options)
    if run.request.several:
        raise problems.invalid([_wrong("target", "one for each file: make a batch for every target")])
    check_plan(run, 1, limits)
    check_format(options)
    single = replace(options, method=run.method_options.method, target=options.target[:1])
    named = name_classes(single, model.card)
    if backend == "sagemaker" and len(as_query(named)) > MAX_ATTRIBUTES:
        raise problems.invalid([_wrong("backend", f"options of more than {MAX_ATTRIBUTES} letters in a query")])
    return named


def _check_time(options: Options, model: Model, state: State, access: _Access) -> None:
    """Refuse options with which one image takes longer than the batch function has; raises `TooSlow`."""
    limits, timeout_s = state.settings.limits(STAGED_LIMITS), access.batches.settings.batch_timeout_s
    check_time(model, options, limits, timeout_s)


def _check_time_of_retry(stored: dict[str, Any], model: Model, state: State, access: _Access) -> None:
    """Check the options of an earlier batch; what this version or model cannot do fails file by file."""
    if stored.get("backend", "lambda") == "lambda":
        with contextlib.suppress(InvalidOption):
            _check_time(from_json(stored), model, state, access)


def _stored(options: Options) -> dict[str, Any]:
    """Return the options that a row stores: none of the original, which a batch's results do not have."""
    return {name: value for name, value in as_json(options).items() if name not in ("original", "strip_original")}


def _wrong(name: str, message: str) -> dict[str, Any]:
    return {"loc": ["body", name], "msg": message, "type": f"unusable_{name}"}


def _service(request: Request) -> "BatchService":
    service: BatchService | None = request.app.state.batches
    if service is None:
        raise StagingUnavailable("staged batches are not set up on this server", retryable=False)
    return service

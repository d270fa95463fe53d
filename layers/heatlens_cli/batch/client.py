"""Call the API of staged batches and parse its responses with the server's own schemas."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import httpx2
from pydantic import BaseModel, ValidationError

from heatlens_aws.errors import StagingUnavailable
from heatlens_cli.batch.journal import BatchFailed
from heatlens_cli.retry import call_with_retries, is_retryable
from heatlens_web.errors import BatchClosed, BatchNotFound
from heatlens_web.schemas.batches import (
    MAX_PAGE,
    BatchCreated,
    BatchLimits,
    BatchStatus,
    FileResult,
    MissingLinks,
    ResultsPage,
    UploadLinks,
)

TIMEOUT_S = 60
UNLIMITED = BatchLimits(batch_files=sys.maxsize, call_files=sys.maxsize, file_bytes=sys.maxsize)

Answer = TypeVar("Answer", bound=BaseModel)


class _Models(BaseModel):
    """The part of the response of `GET /models` that is read."""

    batches: BatchLimits | None = None


class RequestRefused(BatchFailed):
    """The server refused; `reason` is its error code, or empty if the response is not the server's own."""

    def __init__(self, response: httpx2.Response) -> None:
        try:
            body = response.json()
        except ValueError:
            body = None
        problem = body if isinstance(body, dict) else {}
        self.status_code = response.status_code
        self.reason = str(problem.get("code", ""))
        detail = problem.get("detail") or problem.get("message") or response.reason_phrase
        super().__init__(f"the server refused ({response.status_code}): {detail}")


class NotAnswered(BatchFailed):
    """The server may or may not have done what was requested."""


class BatchClient:
    """Calls one server. Safe to share between threads."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def limits(self) -> BatchLimits:
        """Get the limits of staged batches; a server that names none refuses what exceeds its own."""
        return self._call(_Models, "GET", "/models").batches or UNLIMITED

    def create(self, count: int, options: dict[str, Any]) -> str:
        """Create a batch and return its id; the key makes every try of the call the same batch."""
        request = {"expected_files": count, "include": "overlay"} | options
        key = {"idempotency-key": str(uuid4())}
        return self._call(BatchCreated, "POST", "/batches", json=request, headers=key).batch_id

    def declare(self, batch: str, files: Sequence[dict[str, Any]]) -> list[int]:
        """Declare files, without retries, and return their numbers.

        Raises:
            NotAnswered: They may be declared; declaring them again could declare them twice.
            RequestRefused: They are not declared.
        """
        try:
            answer = self._call(UploadLinks, "POST", f"/batches/{batch}/files", once=True, json={"files": files})
        except RequestRefused as error:
            if error.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
                raise NotAnswered(str(error)) from error
            raise
        return [link.number for link in answer.files]

    def missing(self, batch: str) -> Iterator[MissingLinks]:
        """Yield pages of links for files that are not uploaded yet; none if the batch is closed."""
        start: int | None = 0
        while start is not None:
            try:
                page = self._call(MissingLinks, "POST", f"/batches/{batch}/files/links", params={"start": start})
            except RequestRefused as error:
                if error.reason == BatchClosed.code:
                    return
                raise
            yield page
            start = page.next

    def close(self, batch: str) -> None:
        """Close the batch: no more files are uploaded."""
        self._call(BatchStatus, "POST", f"/batches/{batch}/close")

    def status(self, batch: str) -> BatchStatus:
        """Get the status of a batch."""
        return self._call(BatchStatus, "GET", f"/batches/{batch}")

    def find(self, batch: str) -> BatchStatus | None:
        """Get the status of a batch, or None if it does not exist or is purged."""
        try:
            status = self.status(batch)
            return None if status.purge else status
        except RequestRefused as error:
            if error.reason == BatchNotFound.code:
                return None
            raise

    def results(self, batch: str) -> Iterator[list[FileResult]]:
        """Yield the results of all files, page by page."""
        start: int | None = 0
        while start is not None:
            page = self._page(batch, start, MAX_PAGE)
            yield page.results
            start = page.next

    def result(self, batch: str, number: int) -> FileResult:
        """Get the result of one file, with new links."""
        return self._page(batch, number, 1).results[0]

    def forget(self, batch: str) -> None:
        """Erase a batch without uploads; if that is refused, it expires by itself."""
        call_with_retries(lambda: self._http.delete(f"/batches/{batch}", params={"purge": True}))

    def _page(self, batch: str, start: int, limit: int) -> ResultsPage:
        return self._call(ResultsPage, "GET", f"/batches/{batch}/results", params={"start": start, "limit": limit})

    def _call(self, kind: type[Answer], method: str, path: str, *, once: bool = False, **request: Any) -> Answer:  # noqa: ANN401 - passes through
        def call() -> httpx2.Response:
            try:
                return self._http.request(method, path, **request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                raise  # the server has not received the request
            except httpx2.TransportError as error:
                if once:
                    raise NotAnswered(f"the server did not answer ({type(error).__name__})") from error
                raise

        response = call_with_retries(call, retryable=_is_overload if once else _may_pass)
        if not response.is_success:
            raise RequestRefused(response)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise BatchFailed(f"{self._http.base_url} does not answer like a Heatlens server: check --url") from error


def _is_overload(response: httpx2.Response) -> bool:
    return response.status_code == httpx2.codes.TOO_MANY_REQUESTS


def _may_pass(response: httpx2.Response) -> bool:
    """Return whether another try may succeed; a server without staging sends no `Retry-After`."""
    if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE and "retry-after" not in response.headers:
        return RequestRefused(response).reason != StagingUnavailable.code
    return is_retryable(response)

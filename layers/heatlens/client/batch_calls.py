"""The calls of the API about staged batches, and the transfers to and from their storage."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import uuid4

import httpx2

from heatlens.client.batch_records import (
    BatchCreated,
    BatchLimits,
    BatchStatus,
    FileResult,
    MissingLinks,
    ResultsPage,
    UploadLink,
    UploadLinks,
)
from heatlens.client.errors import ApiError, NoConnection, NotFound, TransferFailed
from heatlens.client.exchange import Call, Step, read
from heatlens.client.retries import has_retryable_status

UNLIMITED = BatchLimits(batch_files=sys.maxsize, call_files=sys.maxsize, file_bytes=sys.maxsize)
PAGE = 200  # results that a server answers at most at a time
BATCH_CLOSED, BATCH_FULL, BATCH_NOT_FOUND = "batch.closed", "batch.full", "batch.not_found"
_ALREADY_THERE = 412  # a link accepts one upload, of the declared bytes only
_BEING_WRITTEN = 409  # another upload to the same key is running


class NotAnswered(NoConnection):
    """The server may or may not have done what was requested."""


@dataclass(frozen=True, slots=True)
class _Models:
    """The part of the answer of `GET /models` that is read."""

    models: list[dict[str, Any]]
    batches: BatchLimits | None = None


def limits() -> Call[BatchLimits | None]:
    """Get the limits of staged batches; `None` where they are not set up, or the server names none."""
    answer = yield from read(_Models, Step("GET", "/models"))
    return answer.batches


def create(expected_files: int, options: dict[str, Any]) -> Call[str]:
    """Create a batch and return its id; the key makes every try of the call the same batch."""
    return _create({"expected_files": expected_files} | options)


def retry(batch: str) -> Call[str]:
    """Create a batch that repeats what failed in a finished one, and return its id."""
    return _create({"retry_of": batch})


def declare(batch: str, files: Sequence[dict[str, Any]]) -> Call[list[UploadLink]]:
    """Declare files, and return the links to upload them.

    Raises:
        NotAnswered: They may be declared; declaring them again could declare them twice.
        ApiError: They are not declared.
    """
    step = Step("POST", f"/batches/{batch}/files", json={"files": list(files)}, repeatable=False, retryable=_overload)
    try:
        answer = yield from read(UploadLinks, step)
    except ApiError as error:
        if (error.status or 0) >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise NotAnswered(str(error), sent=True) from error
        raise
    except NoConnection as error:
        if error.sent:
            raise NotAnswered(str(error), sent=True) from error
        raise
    return answer.files


def missing(batch: str, start: int = 0) -> Call[MissingLinks]:
    """Get links for files that are not uploaded yet, from a number on; none if the batch is closed."""
    try:
        return (yield from read(MissingLinks, Step("POST", f"/batches/{batch}/files/links?start={start}")))
    except ApiError as error:
        if error.code == BATCH_CLOSED:
            return MissingLinks([], None)
        raise


def close(batch: str) -> Call[BatchStatus]:
    """Close a batch: no more files are uploaded."""
    return read(BatchStatus, Step("POST", f"/batches/{batch}/close"))


def status(batch: str) -> Call[BatchStatus]:
    """Get the status of a batch."""
    return read(BatchStatus, Step("GET", f"/batches/{batch}"))


def find(batch: str) -> Call[BatchStatus | None]:
    """Get the status of a batch, or `None` if it does not exist or is purged."""
    try:
        found = yield from status(batch)
    except NotFound as error:
        if error.code == BATCH_NOT_FOUND:
            return None
        raise
    return None if found.purge else found


def results(batch: str, start: int = 0, limit: int = PAGE) -> Call[ResultsPage]:
    """Get a page of results."""
    return read(ResultsPage, Step("GET", f"/batches/{batch}/results?start={start}&limit={limit}"))


def result(batch: str, number: int) -> Call[FileResult]:
    """Get the result of one file, with new links."""
    page = yield from results(batch, number, 1)
    return page.results[0]


def cancel(batch: str) -> Call[BatchStatus]:
    """Stop what has not started."""
    return read(BatchStatus, Step("DELETE", f"/batches/{batch}"))


def purge(batch: str) -> Call[BatchStatus]:
    """Erase everything of a batch."""
    return read(BatchStatus, Step("DELETE", f"/batches/{batch}?purge=true"))


def upload(link: UploadLink, chunks: Callable[[], Iterable[bytes]]) -> Call[None]:
    """Upload one file; one that is there already, as declared, is no error.

    Args:
        link: Where to.
        chunks: Opens the file for each try.

    Raises:
        TransferFailed: The storage refuses.
        NoConnection: The connection broke at every try.
    """
    response = yield Step("PUT", link.url, headers=link.headers, chunks=chunks, bare=True, retryable=_may_be_stored)
    if not response.is_success and response.status_code != _ALREADY_THERE:
        code = response.status_code
        raise TransferFailed(
            f"the upload was refused with status {code}", status=code, retryable=_may_be_stored(response)
        )


def download(link: str, sink: BinaryIO) -> Call[None]:
    """Write the object behind a link to a file.

    Raises:
        TransferFailed: The storage refuses; 403 usually means that the link has expired.
        NoConnection: The connection broke at every try.
    """
    response = yield Step("GET", link, sink=sink, bare=True, retryable=has_retryable_status)
    if not response.is_success:
        code = response.status_code
        raise TransferFailed(
            f"the storage refused with status {code}", status=code, retryable=has_retryable_status(response)
        )


def pages(read_page: Callable[[int], ResultsPage]) -> Iterator[list[FileResult]]:
    """Yield the results of all files, page by page."""
    start: int | None = 0
    while start is not None:
        page = read_page(start)
        yield page.results
        start = page.next


def _create(body: dict[str, Any]) -> Call[str]:
    step = Step("POST", "/batches", json=body, headers={"idempotency-key": str(uuid4())})
    answer = yield from read(BatchCreated, step)
    return answer.batch_id


def _overload(response: httpx2.Response) -> bool:
    return response.status_code == httpx2.codes.TOO_MANY_REQUESTS


def _may_be_stored(response: httpx2.Response) -> bool:
    return has_retryable_status(response) or response.status_code == _BEING_WRITTEN

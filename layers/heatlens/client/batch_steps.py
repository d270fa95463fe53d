"""The steps of a staged batch for both clients: declare, upload, wait and download, also after an interruption.

Nothing is lost or done twice: the server knows which files it has, and a heatmap that is there is kept.
"""

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from heatlens.client import batch_calls as api
from heatlens.client.batch_download import Downloaded, download_file
from heatlens.client.batch_files import BatchFile, FileSource, read_file
from heatlens.client.batch_records import BatchStatus, FileResult, UploadLink
from heatlens.client.errors import ClientError, NotFound, TransferFailed
from heatlens.client.exchange import Call, Pause, Together, Work
from heatlens.errors import HeatlensError

DECLARE_TRIES = 3
DECLARE_WAIT_S = 2.0
FIRST_POLL_S, POLL_S = 0.5, 5.0  # the server's counts are up to 5 s old
_EXPIRED = 403

Stage = Literal["read", "upload", "explain", "download"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Files of a stage that are done; rate and time left are the server's, of `explain`."""

    stage: Stage
    done: int
    total: int
    files_per_s: float | None = None
    time_left_s: int | None = None


Notify = Callable[[Progress], object]


class _Counter:
    """Counts the files of a stage that are done, in any thread."""

    def __init__(self, stage: Stage, total: int, notify: Notify) -> None:
        self.done = 0
        self._stage, self._total, self._notify = stage, total, notify
        self._lock = threading.Lock()
        notify(Progress(stage, 0, total))

    def advance(self, count: int = 1) -> None:
        with self._lock:
            self.done += count
            self._notify(Progress(self._stage, self.done, self._total))


@dataclass(frozen=True, slots=True)
class Declared:
    """A batch and its files, by their numbers."""

    batch_id: str
    files: dict[int, BatchFile]


def begin(files: Mapping[str, FileSource], options: dict[str, Any], notify: Notify) -> Call[Declared]:
    """Create a batch and declare its files.

    If the answer of a declaring call is lost, the batch is erased and another is made: nothing was uploaded to it.
    """
    known = yield from _read(files, notify)
    limits = yield from api.limits()
    call_files = limits.call_files if limits else len(known)
    for turn in itertools.count():
        batch = yield from api.create(len(known), options)
        try:
            return Declared(batch, (yield from _declare(batch, known, call_files)))
        except api.NotAnswered:
            yield from forget(batch)
            if turn == DECLARE_TRIES - 1:
                raise
            yield Pause(DECLARE_WAIT_S * 2**turn)
    raise AssertionError("the loop has no end")


def resume(batch: str, files: Mapping[str, FileSource], notify: Notify) -> Call[Declared]:
    """Find the files of an existing batch by their names, and declare those that it lacks.

    Raises:
        NotFound: There is no such batch, or it is purged.
    """
    status = yield from api.find(batch)
    if status is None:
        raise NotFound("there is no such batch, or it was erased", code=api.BATCH_NOT_FOUND)
    known = {each.name: each for each in (yield from _read(files, notify))}
    numbers: dict[int, BatchFile] = {}
    for result in (yield from all_results(batch)):
        if result.name in known:
            numbers[result.number] = known.pop(result.name)
    if known and status.state == "open":
        limits = yield from api.limits()
        numbers |= yield from _declare(batch, list(known.values()), limits.call_files if limits else len(known))
    return Declared(batch, numbers)


def send(declared: Declared, notify: Notify) -> Call[dict[str, ClientError]]:
    """Upload what the server lacks and close the batch; return the files that cannot be uploaded, with their errors.

    Raises:
        TransferFailed: A failure may pass. The batch stays open, so that it can be continued.
    """
    counter = _Counter("upload", len(declared.files), notify)
    failures: dict[str, ClientError] = {}
    helps = True
    while helps:
        before, failures = counter.done, {}
        start: int | None = 0
        while start is not None:
            page = yield from api.missing(declared.batch_id, start)
            links = [link for link in page.files if link.number in declared.files]
            failures |= yield from _put_all(links, declared, counter)
            start = page.next
        # Links that expired before their turn are signed again, as long as that helps.
        helps = counter.done > before and any(error.status == _EXPIRED for error in failures.values())
    counter.advance(len(declared.files) - counter.done - len(failures))  # those that were uploaded before
    if passing := [error for error in failures.values() if error.retryable]:
        count = f"{len(failures)} of {len(declared.files)} files were not uploaded"
        raise TransferFailed(f"{count} ({passing[0]}): upload again to continue", retryable=True)
    yield from api.close(declared.batch_id)
    return failures


def repeat(declared: Declared) -> Call[Declared]:
    """Create a batch that repeats what failed in an ended one; its files are those known by the same names."""
    batch = yield from api.retry(declared.batch_id)
    known = {file.name: file for file in declared.files.values()}
    results = yield from all_results(batch)
    return Declared(batch, {each.number: known[each.name] for each in results if each.name in known})


def wait(batch: str, notify: Notify) -> Call[BatchStatus]:
    """Wait until a batch has ended."""
    for turn in itertools.count():
        status = yield from api.status(batch)
        total = status.declared_files
        notify(Progress("explain", status.ended_files, total, status.files_per_s, status.time_left_s))
        if status.ended:
            return status
        yield Pause(min(FIRST_POLL_S * 2 ** min(turn, 10), POLL_S))
    raise AssertionError("the loop has no end")


def fetch(batch: str, folder: Path, notify: Notify) -> Call[list[Downloaded]]:
    """Download the results of a batch into a folder, each checked against its digest; what is there is kept."""
    status = yield from api.status(batch)
    counter = _Counter("download", status.declared_files, notify)

    def one(result: FileResult) -> Call[Downloaded]:
        outcome = yield from download_file(batch, result, folder)
        counter.advance()
        return outcome

    outcomes: list[Downloaded] = []
    start: int | None = 0
    while start is not None:
        page = yield from api.results(batch, start)
        outcomes += yield Together([one(result) for result in page.results])
        start = page.next
    return outcomes


def all_results(batch: str) -> Call[list[FileResult]]:
    """Get the results of all files."""
    results: list[FileResult] = []
    start: int | None = 0
    while start is not None:
        page = yield from api.results(batch, start)
        results += page.results
        start = page.next
    return results


def forget(batch: str) -> Call[None]:
    """Erase a batch without uploads; if that is refused, it expires by itself."""
    try:
        yield from api.purge(batch)
    except ClientError:
        return


def _read(files: Mapping[str, FileSource], notify: Notify) -> Call[list[BatchFile]]:
    counter = _Counter("read", len(files), notify)

    def one(name: str, source: FileSource) -> Call[BatchFile]:
        file: BatchFile = yield Work(lambda: read_file(name, source))
        counter.advance()
        return file

    known: list[BatchFile] = yield Together([one(name, source) for name, source in files.items()])
    return known


def _declare(batch: str, files: list[BatchFile], call_files: int) -> Call[dict[int, BatchFile]]:
    numbers: dict[int, BatchFile] = {}
    for start in range(0, len(files), call_files):
        chunk = files[start : start + call_files]
        links = yield from api.declare(batch, [file.declaration() for file in chunk])
        numbers |= {link.number: file for link, file in zip(links, chunk, strict=True)}
    return numbers


def _put_all(links: list[UploadLink], declared: Declared, counter: _Counter) -> Call[dict[str, ClientError]]:
    def one(link: UploadLink) -> Call[ClientError | None]:
        try:
            yield from api.upload(link, declared.files[link.number].chunks)
        except ClientError as error:
            return error
        except (HeatlensError, OSError) as error:
            return ClientError(f"it cannot be read: {error}")
        counter.advance()
        return None

    errors: list[ClientError | None] = yield Together([one(link) for link in links])
    named = zip((declared.files[link.number].name for link in links), errors, strict=True)
    return {name: error for name, error in named if error}

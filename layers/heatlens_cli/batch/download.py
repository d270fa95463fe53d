"""Download the heatmap of a file and check it against the committed digest."""

import contextlib
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
from pydantic import BaseModel, ValidationError

from heatlens_cli.atomic_file import sha256_of, write_atomically
from heatlens_cli.batch.client import BatchClient
from heatlens_cli.retry import call_with_retries, is_retryable
from heatlens_cli.sources import CHUNK, RESULT_SUFFIX
from heatlens_cli.worker_pool import WorkerPool
from heatlens_web.schemas.batches import FileResult, ResultLinks

OVERLAY = "overlay.png"


class DownloadError(Exception):
    """A heatmap cannot be downloaded; `lasting` is a failure of the storage rather than of one file."""

    def __init__(self, why: str, *, lasting: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting


class _Forbidden(DownloadError):
    """The storage refused a link, usually because it has expired."""


class _Document(BaseModel):
    """The part of `result.json` that is read."""

    objects: dict[str, str]


@dataclass(frozen=True, slots=True)
class Download:
    """Downloads heatmaps into a folder. Safe to share between threads."""

    client: BatchClient
    storage: httpx2.Client
    folder: Path
    workers: WorkerPool

    def fetch(self, batch: str, result: FileResult, name: str) -> DownloadError | None:
        """Download one heatmap unless it is up to date; return the error, or None."""
        target = self._target(name)
        try:
            if result.links is None:
                self.remove(name)
                return None
            try:
                self._bring(result.links, target)
            except _Forbidden:
                self._bring(self.client.result(batch, result.number).links or result.links, target)
        except DownloadError as failure:
            return failure
        except OSError as error:
            return DownloadError(f"it cannot be written: {error.strerror}")
        return None

    def remove(self, name: str) -> None:
        """Remove the heatmap that an earlier run made of a file that has none now."""
        with contextlib.suppress(OSError):
            self._target(name).unlink()

    def _target(self, name: str) -> Path:
        return self.folder / f"{name}{RESULT_SUFFIX}"

    def _bring(self, links: ResultLinks, target: Path) -> None:
        document = io.BytesIO()
        self._read(links.result, document)
        try:
            sha256 = _Document.model_validate_json(document.getvalue()).objects[OVERLAY]
        except (ValidationError, KeyError) as error:
            raise DownloadError("its result.json names no overlay") from error
        if sha256_of(target) == sha256:
            return
        with write_atomically(target, overwrite=True) as file:
            if links.overlay is None or self._read(links.overlay, file) != sha256:
                raise DownloadError("its bytes differ from the committed digest")

    def _read(self, link: str, file: BinaryIO) -> str:
        """Write the object behind a link into a file and return its digest (hex)."""
        digest = hashlib.sha256()

        def get() -> httpx2.Response:
            nonlocal digest
            digest = hashlib.sha256()
            file.seek(0)
            file.truncate()
            with self.storage.stream("GET", link) as response:
                for chunk in response.iter_bytes(CHUNK) if response.is_success else ():
                    self.workers.check()
                    digest.update(chunk)
                    file.write(chunk)
            return response

        try:
            response = call_with_retries(get, wait=self.workers.wait)
        except httpx2.RequestError as error:
            raise DownloadError(f"the connection broke ({type(error).__name__})", lasting=True) from error
        if response.status_code == httpx2.codes.FORBIDDEN:
            raise _Forbidden("the storage refused with status 403")
        if not response.is_success:
            sentence = f"the storage refused with status {response.status_code}"
            raise DownloadError(sentence, lasting=is_retryable(response))
        return digest.hexdigest()

"""Call the API of staged batches, by the client of the HTTP API."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heatlens.client import Client
from heatlens.client import batch_calls as api
from heatlens.client import batch_steps as steps
from heatlens.client.batch_download import KINDS, Downloaded, download_file
from heatlens.client.batch_records import BatchLimits, BatchStatus, FileResult, MissingLinks, UploadLink
from heatlens_cli.worker_pool import WorkerPool

INCLUDED = "overlay"  # by default


class BatchClient:
    """Calls one server, and its storage. Safe to share between threads."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def limits(self) -> BatchLimits:
        """Get the limits of staged batches; a server that names none refuses what exceeds its own."""
        return self._client.run(api.limits()) or api.UNLIMITED

    def create(self, count: int, options: dict[str, Any]) -> str:
        """Create a batch and return its id; the key makes every try of the call the same batch."""
        return self._client.run(api.create(count, {"include": INCLUDED} | options))

    def declare(self, batch: str, files: Sequence[dict[str, Any]]) -> list[int]:
        """Declare files, without retries, and return their numbers.

        Raises:
            NotAnswered: They may be declared; declaring them again could declare them twice.
            ApiError: They are not declared.
        """
        return [link.number for link in self._client.run(api.declare(batch, files))]

    def missing(self, batch: str) -> Iterator[MissingLinks]:
        """Yield pages of links for files that are not uploaded yet; none if the batch is closed."""
        start: int | None = 0
        while start is not None:
            page = self._client.run(api.missing(batch, start))
            yield page
            start = page.next

    def close(self, batch: str) -> None:
        """Close the batch: no more files are uploaded."""
        self._client.run(api.close(batch))

    def status(self, batch: str) -> BatchStatus:
        """Get the status of a batch."""
        return self._client.run(api.status(batch))

    def find(self, batch: str) -> BatchStatus | None:
        """Get the status of a batch, or None if it does not exist or is purged."""
        return self._client.run(api.find(batch))

    def results(self, batch: str) -> Iterator[list[FileResult]]:
        """Yield the results of all files, page by page."""
        return api.pages(lambda start: self._client.run(api.results(batch, start)))

    def forget(self, batch: str) -> None:
        """Erase a batch without uploads; if that is refused, it expires by itself."""
        self._client.run(steps.forget(batch))

    def upload(self, link: UploadLink, chunks: Callable[[], Iterable[bytes]], workers: WorkerPool) -> None:
        """Upload one file.

        Raises:
            TransferFailed: The storage refuses.
            NoConnection: The connection broke at every try.
        """
        self._client.run(api.upload(link, chunks), wait=workers.wait)

    def download(
        self, batch: str, result: FileResult, folder: Path, workers: WorkerPool, kinds: Iterable[str] = KINDS
    ) -> Downloaded:
        """Download what there is of one file; what is there already is kept."""
        return self._client.run(download_file(batch, result, folder, kinds), wait=workers.wait)

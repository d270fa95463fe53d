"""A staged batch, for programs without an event loop."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from heatlens.client import batch_calls as api
from heatlens.client import batch_steps as steps
from heatlens.client.batch_download import Downloaded
from heatlens.client.batch_records import BatchStatus, FileResult
from heatlens.client.batch_steps import Declared, Notify, Progress
from heatlens.client.errors import ClientError
from heatlens.client.exchange import Call

T = TypeVar("T")


class Runner(Protocol):
    """What a batch needs of its client."""

    def run(self, call: Call[T]) -> T:
        """Do what a call yields, and return its result."""


def ignore(_: Progress) -> None:
    """Show no progress."""


class StagedBatch:
    """Images that are uploaded straight to the bucket and explained as they arrive.

    `Client.create_batch` makes one, `Client.open_batch` continues one.
    """

    def __init__(self, client: Runner, declared: Declared) -> None:
        self._client = client
        self._declared = declared

    @property
    def id(self) -> str:
        """The id, which continues the batch in another process."""
        return self._declared.batch_id

    def upload(self, on_progress: Notify = ignore) -> dict[str, ClientError]:
        """Upload in parallel what the server lacks, then close the batch.

        Returns:
            The files that cannot be uploaded, by name, with their errors; the others are not affected.

        Raises:
            TransferFailed: A failure may pass; the batch stays open: call this again.
            ApiError: The server refuses.
        """
        return self._client.run(steps.send(self._declared, on_progress))

    def wait(self, on_progress: Notify = ignore) -> BatchStatus:
        """Wait until every file is explained or has failed."""
        return self._client.run(steps.wait(self.id, on_progress))

    def status(self) -> BatchStatus:
        """Return the state of the batch, and the counts of its files."""
        return self._client.run(api.status(self.id))

    def results(self) -> Iterator[FileResult]:
        """Yield the result of each file, with links that are valid for minutes."""
        for page in api.pages(lambda start: self._client.run(api.results(self.id, start))):
            yield from page

    def download(self, folder: str | os.PathLike[str], on_progress: Notify = ignore) -> list[Downloaded]:
        """Download the results into a folder, under the names of the files; what is there already is kept.

        Returns:
            What was downloaded of each file, in the order of their numbers; `error` is why a result could not be.
        """
        return self._client.run(steps.fetch(self.id, Path(folder), on_progress))

    def retry(self) -> "StagedBatch":
        """Create a batch that repeats what failed in this one, after its end; then `upload` what the server lacks.

        Raises:
            BatchConflict: The batch has not ended, or nothing failed.
        """
        return StagedBatch(self._client, self._client.run(steps.repeat(self._declared)))

    def cancel(self) -> BatchStatus:
        """Stop what has not started."""
        return self._client.run(api.cancel(self.id))

    def purge(self) -> BatchStatus:
        """Erase all images, results and rows."""
        return self._client.run(api.purge(self.id))

"""A staged batch, for programs with an event loop."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol, TypeVar

from heatlens.client import batch_calls as api
from heatlens.client import batch_steps as steps
from heatlens.client.batch_download import Downloaded
from heatlens.client.batch_records import BatchStatus, FileResult
from heatlens.client.batch_steps import Declared, Notify
from heatlens.client.errors import ClientError
from heatlens.client.exchange import Call
from heatlens.client.sync_batch import ignore

T = TypeVar("T")


class AsyncRunner(Protocol):
    """What a batch needs of its client."""

    async def run(self, call: Call[T]) -> T:
        """Do what a call yields, and return its result."""


class AsyncStagedBatch:
    """As `StagedBatch`, with methods to await."""

    def __init__(self, client: AsyncRunner, declared: Declared) -> None:
        self._client = client
        self._declared = declared

    @property
    def id(self) -> str:
        """The id, which continues the batch in another process."""
        return self._declared.batch_id

    async def upload(self, on_progress: Notify = ignore) -> dict[str, ClientError]:
        """Upload in parallel what the server lacks, then close the batch, as `StagedBatch.upload`."""
        return await self._client.run(steps.send(self._declared, on_progress))

    async def wait(self, on_progress: Notify = ignore) -> BatchStatus:
        """Wait until every file is explained or has failed."""
        return await self._client.run(steps.wait(self.id, on_progress))

    async def status(self) -> BatchStatus:
        """Return the state of the batch, and the counts of its files."""
        return await self._client.run(api.status(self.id))

    async def results(self) -> AsyncIterator[FileResult]:
        """Yield the result of each file, with links that are valid for minutes."""
        start: int | None = 0
        while start is not None:
            page = await self._client.run(api.results(self.id, start))
            for each in page.results:
                yield each
            start = page.next

    async def download(self, folder: str | os.PathLike[str], on_progress: Notify = ignore) -> list[Downloaded]:
        """Download the results into a folder, as `StagedBatch.download`."""
        return await self._client.run(steps.fetch(self.id, Path(folder), on_progress))

    async def retry(self) -> "AsyncStagedBatch":
        """Create a batch that repeats what failed in this one, as `StagedBatch.retry`."""
        return AsyncStagedBatch(self._client, await self._client.run(steps.repeat(self._declared)))

    async def cancel(self) -> BatchStatus:
        """Stop what has not started."""
        return await self._client.run(api.cancel(self.id))

    async def purge(self) -> BatchStatus:
        """Erase all images, results and rows."""
        return await self._client.run(api.purge(self.id))

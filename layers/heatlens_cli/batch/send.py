"""Read, declare and upload images and close their batch, without sending anything twice."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heatlens.client import ApiError, NoConnection, TransferFailed
from heatlens.client.batch_calls import BATCH_FULL, NotAnswered
from heatlens.client.batch_files import FileChanged, declaration, unchanged
from heatlens.client.batch_records import BatchLimits, UploadLink
from heatlens_cli.batch.client import BatchClient
from heatlens_cli.batch.journal import BatchFailed, DeclaredFile, Part, Run
from heatlens_cli.progress import Bars
from heatlens_cli.sources import Changed, Image, RejectedFile, Source, Unreadable
from heatlens_cli.worker_pool import THREADS, WorkerPool, open_worker_pool

DECLARE_TRIES = 3
DECLARE_WAIT_S = 2.0
BROKEN, REFUSED = "upload.broken", "upload.refused"


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the images of a run; `failures` are the files that could not be sent, by name."""

    client: BatchClient
    limits: BatchLimits
    source: Source
    folder: Path
    run: Run
    bars: Bars
    failures: dict[str, RejectedFile] = field(default_factory=dict)

    def declare(self, images: Sequence[Image], *, call_files: int) -> Part | None:
        """Create a batch and declare these images, except those that cannot be read.

        Declaring cannot be retried, because its response has the files' numbers. If the response is lost, here or in
        an interrupted run, the batch is abandoned and another is created: nothing was uploaded to it.

        Args:
            images: At most as many as one batch may have.
            call_files: Files that the server takes in one declaring call.

        Raises:
            BatchFailed: The server refuses, or does not respond to several tries.
        """
        files = self._read(images)
        for turn in range(DECLARE_TRIES if files else 0):
            part = Part(batch_id=self.client.create(len(files), self.run.options))
            self.run.parts.append(part)
            self.run.save(self.folder)
            try:
                part.files = self._declare(part.batch_id, files, call_files)
            except NotAnswered:
                give_up(self.client, self.run, part)
                time.sleep(DECLARE_WAIT_S * 2**turn)
                continue
            self.run.save(self.folder)
            return part
        if files:
            raise BatchFailed(
                "the server did not answer when files were declared: run the same command again to continue"
            )
        return None

    def upload(self, part: Part) -> None:
        """Upload the missing files and close the batch; a file that cannot be uploaded fails alone.

        Raises:
            BatchFailed: The storage refuses every upload.
        """
        self.bars.expect("upload", len(part.files))
        sent, failures, helps = 0, dict[str, RejectedFile](), True
        with open_worker_pool() as workers:
            put = _Put(self.client, self.source, workers, {each.number: each for each in part.files})
            while helps:
                before, failures = sent, {}
                for failure in self._pass(part, put):
                    if failure:
                        failures[failure.name] = failure
                    else:
                        sent += 1
                        self.bars.advance("upload")
                # Links that expired before their turn are signed again, as long as that helps.
                helps = sent > before and any(each.code == REFUSED for each in failures.values())
        self.failures.update(failures)
        self.bars.advance("upload", len(part.files) - sent - len(failures))  # those that were uploaded before
        self.client.close(part.batch_id)
        part.sent = True
        self.run.save(self.folder)

    def _pass(self, part: Part, put: "_Put") -> Iterator[RejectedFile | None]:
        """Try once to upload each missing file; yield its failure, or None."""
        in_a_row = 0
        for page in self.client.missing(part.batch_id):
            # A number is unknown here if its file has changed since.
            for failure in put.workers.executor.map(put, [link for link in page.files if link.number in put.files]):
                in_a_row = in_a_row + 1 if failure and failure.code == BROKEN else 0
                if failure and in_a_row == THREADS:
                    raise BatchFailed(
                        f"the storage refuses uploads ({failure.why}): run the same command again to continue"
                    )
                yield failure

    def _read(self, images: Sequence[Image]) -> list[tuple[Image, str]]:
        """Read the images and return those that can be read, with their digests."""
        self.bars.expect("read", len(images))
        files: list[tuple[Image, str]] = []
        with open_worker_pool() as workers:
            for image, digest in zip(
                images, workers.executor.map(lambda each: _digest(self.source, each, workers), images), strict=True
            ):
                self.bars.advance("read")
                if isinstance(digest, RejectedFile):
                    self.failures[image.name] = digest
                else:
                    files.append((image, digest))
        return files

    def _declare(self, batch: str, files: Sequence[tuple[Image, str]], call_files: int) -> list[DeclaredFile]:
        noted: list[DeclaredFile] = []
        for start in range(0, len(files), call_files):
            chunk = files[start : start + call_files]
            try:
                numbers = self.client.declare(
                    batch, [declaration(image.name, image.size, sha256) for image, sha256 in chunk]
                )
            except ApiError as error:
                if error.code == BATCH_FULL:  # a response was lost between the server and its table
                    raise NotAnswered(str(error), sent=True) from error
                raise
            noted += [
                DeclaredFile(name=image.name, size=image.size, stamp=image.stamp, sha256=sha256, number=number)
                for (image, sha256), number in zip(chunk, numbers, strict=True)
            ]
        return noted


def give_up(client: BatchClient, run: Run, part: Part) -> None:
    """Abandon a batch that has no uploads."""
    client.forget(part.batch_id)
    run.parts.remove(part)


@dataclass(frozen=True, slots=True)
class _Put:
    """Uploads files. Safe to share between threads."""

    client: BatchClient
    source: Source
    workers: WorkerPool
    files: dict[int, DeclaredFile]

    def __call__(self, link: UploadLink) -> RejectedFile | None:
        """Upload one file; return its failure, or None."""
        file = self.files[link.number]
        try:
            self.client.upload(link, lambda: self._bytes(file), self.workers)
        except Unreadable as error:
            return RejectedFile(file.name, error.code, str(error))
        except FileChanged as error:
            return RejectedFile(
                file.name, error.code, "it was written since it was declared: run the same command again"
            )
        except NoConnection as error:
            return RejectedFile(file.name, BROKEN, f"the upload broke off: {error}")
        except TransferFailed as error:
            return RejectedFile(file.name, BROKEN if error.retryable else REFUSED, str(error))
        return None

    def _bytes(self, file: DeclaredFile) -> Iterator[bytes]:
        """Yield the bytes of a file; withhold the last ones if it has changed, so that the upload fails."""
        for chunk in unchanged(self.source.chunks(Image(file.name, file.size, file.stamp)), file.size, file.sha256):
            self.workers.check()
            yield chunk


def _digest(source: Source, image: Image, workers: WorkerPool) -> str | RejectedFile:
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in source.chunks(image):
            workers.check()
            digest.update(chunk)
            size += len(chunk)
    except Unreadable as error:
        return RejectedFile(image.name, error.code, str(error))
    if size != image.size:
        return RejectedFile(image.name, Changed.code, "it was written while it was read: run the same command again")
    return digest.hexdigest()

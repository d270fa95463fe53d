"""Create, fill, follow and end staged batches: table rows, signed links and responses.

Importing this module loads boto3: the server does so only where staging is set up.
"""

import contextlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ulid import ULID

from heatlens_aws.batch_table import BatchTable, Declared
from heatlens_aws.clients import FAILURES, connect
from heatlens_aws.conditional_writes import Contended, InvalidTransition
from heatlens_aws.creation import Creation, Quota, RequestKey
from heatlens_aws.deadline import note_progress
from heatlens_aws.denials import is_denied
from heatlens_aws.errors import WRONG_DIGEST, StagingUnavailable
from heatlens_aws.finishing import finish_if_done, settle_open
from heatlens_aws.metrics import BATCHES_ENDED, ITEMS
from heatlens_aws.object_keys import MAP, RESULT, Lane, attempt_prefix, dicom_names, is_batch_id, picture_names
from heatlens_aws.progress import recount, unsettled
from heatlens_aws.records import OPEN_FILE_STATES, Batch, BatchState, File, FileState
from heatlens_aws.settings import AwsSettings
from heatlens_aws.staging import Staging, Stored
from heatlens_aws.tombstones import Tombstone
from heatlens_aws.tracing import current_trace
from heatlens_web.access import count_denial, current_access
from heatlens_web.errors import (
    BatchClosed,
    BatchFull,
    BatchNotFound,
    BatchUnfinished,
    IdempotencyKeyReused,
    NothingToRetry,
    TooManyFiles,
)
from heatlens_web.problems import invalid
from heatlens_web.schemas.batches import (
    Backend,
    BatchCreated,
    BatchStatus,
    FileDeclaration,
    FileResult,
    MissingLinks,
    PurgeProgress,
    ResultLinks,
    ResultsPage,
    UploadLink,
    UploadLinks,
)

logger = logging.getLogger(__name__)

COUNTS_LIVE_S = 5.0
COUNTS_KEPT = 256  # batches whose counts are cached
COPY_BUDGET_S = 15.0  # the gateway times out after 30
COPIES_AT_ONCE = 10  # connections of one client
REPEATED = {FileState.FAILED, FileState.MISSING, FileState.CANCELLED}


@dataclass(slots=True)
class RecentCounts:
    """Counts of files by state, cached briefly so that many clients polling one batch read its rows once."""

    _known: dict[str, tuple[float, Batch, Counter[FileState]]] = field(default_factory=dict)

    def of(self, batch: Batch, jobs: BatchTable) -> Counter[FileState]:
        """Return the counts, as old as `COUNTS_LIVE_S` at most and never older than the batch's own row."""
        counted, row, counts = self._known.get(batch.id, (-COUNTS_LIVE_S, None, Counter()))
        if row == batch and time.monotonic() - counted < COUNTS_LIVE_S:
            return counts
        if len(self._known) >= COUNTS_KEPT:
            self._known.clear()
        counts = recount(jobs, batch).counts
        self._known[batch.id] = time.monotonic(), batch, counts
        return counts


@dataclass(frozen=True, slots=True)
class BatchService:
    """The calls of the staged batch API. Safe to share between threads."""

    jobs: BatchTable
    staging: Staging
    settings: AwsSettings
    recent: RecentCounts = field(default_factory=RecentCounts)

    @staticmethod
    @contextlib.contextmanager
    def outages() -> Iterator[None]:
        """Turn every failure of the storage into one error, and log its cause.

        Raises:
            StagingUnavailable: Bucket or table failed, are missing, or cannot be reached.
        """
        try:
            yield
        except (*FAILURES, Contended) as error:
            count_denial(error)
            logger.exception("the storage of staged batches failed")
            raise StagingUnavailable(
                "the storage of staged batches does not answer: try again", retryable=True
            ) from error

    def replay(self, key: RequestKey | None) -> BatchCreated | None:
        """Answer a repeated request as the first one with its key; a retry that was interrupted is continued.

        Raises:
            IdempotencyKeyReused: The first one had another body.
        """
        first = self.jobs.creations.find(key.id, now=int(time.time())) if key else None
        if key is None or first is None:
            return None
        created = self._answer_of(first, key)
        new = self.jobs.batch(first.batch)
        if new and new.retry_of and (old := self.jobs.batch(new.retry_of)):
            self._repeat(old, new)
        return created

    def create(
        self,
        owner: str,
        *,
        expected: int,
        options: dict[str, Any],
        model: str,
        backend: Backend = "lambda",
        key: RequestKey | None = None,
    ) -> BatchCreated:
        """Open a batch.

        Raises:
            InvalidRequest: The backend is not configured.
            TooManyFiles: More than a batch, or its owner, may have.
            QuotaExceeded: The owner may not open another batch now.
            IdempotencyKeyReused: The key came with another body.
        """
        if expected > self.settings.batch_files:
            raise TooManyFiles(f"more than {self.settings.batch_files:,} files: make several batches")
        self._check_backend(backend)
        chosen = {} if backend == "lambda" else {"backend": backend}
        return self._new(owner, expected=expected, options=options | chosen, model=model, key=key)

    def retry(self, owner: str, batch_id: str, *, model: str, key: RequestKey | None = None) -> BatchCreated:
        """Open a batch of the files that did not succeed in a finished one, its options kept.

        Files that were uploaded there are copied within the bucket, which starts the work. `links` copies those that
        there was no time for, and signs links for those that were never uploaded.

        Raises:
            BatchNotFound: There is no such batch, or it belongs to another principal.
            BatchUnfinished: It is not finished.
            NothingToRetry: All its files succeeded.
            InvalidRequest: Its backend is no longer configured.
            QuotaExceeded: The owner may not open another batch now.
            IdempotencyKeyReused: The key came with another body.
        """
        old = self.find(owner, batch_id)
        if not old.state.terminal:
            raise BatchUnfinished("only a finished batch can be repeated: wait for its end, or cancel it")
        self._check_backend(old.options.get("backend", "lambda"))
        files = self._failures(old)
        if not files:
            raise NothingToRetry("no file of this batch failed")
        created = self._new(owner, expected=len(files), options=old.options, model=model, retry_of=old.id, key=key)
        self._repeat(old, self.find(owner, created.batch_id))
        return created

    def _repeat(self, old: Batch, new: Batch) -> None:
        """Declare the failures of an ended batch in another and copy their uploads, as far as that is not done."""
        files, declared = self._failures(old), list[File]()
        with contextlib.suppress(InvalidTransition):  # it was closed, cancelled or purged meanwhile
            for start in range(0, len(files), self.settings.call_files):
                chunk = [_declared(file) for file in files[start : start + self.settings.call_files]]
                declared += self.jobs.declare(new, chunk, at=start)
        self._copy_from(old, new, declared)

    def find(self, owner: str, batch_id: str) -> Batch:
        """Read a batch for its owner.

        Raises:
            BatchNotFound: There is no such batch, or it belongs to another principal.
        """
        batch = self.jobs.batch(batch_id) if is_batch_id(batch_id) else None
        if batch is None or batch.owner != owner:
            raise BatchNotFound("no such batch")
        return batch

    def find_or_tombstone(self, owner: str, batch_id: str) -> Batch | Tombstone:
        """Read a batch for its owner, or the tombstone that a purge left.

        Raises:
            BatchNotFound: There is neither, or it belongs to another principal.
        """
        try:
            return self.find(owner, batch_id)
        except BatchNotFound:
            tombstone = self.jobs.tombstones.find(batch_id) if is_batch_id(batch_id) else None
            if tombstone is None or not tombstone.is_of(owner):
                raise
            return tombstone

    def declare(self, batch: Batch, files: Sequence[FileDeclaration]) -> UploadLinks:
        """Give files their numbers and the links to upload them.

        Raises:
            TooManyFiles: More than a call may declare.
            BatchClosed: The batch accepts no more files.
            BatchFull: More than were expected; none of these was declared.
        """
        if len(files) > self.settings.call_files:
            raise TooManyFiles(f"more than {self.settings.call_files} files in one call: declare them in several")
        try:
            declared = self.jobs.declare(batch, [_declared(file) for file in files])
            self._note_progress(batch)
        except InvalidTransition as refusal:
            now = self._reread(batch)
            _check_open(now)
            left = now.expected - now.declared
            raise BatchFull(f"the batch expects {left} more files, these are {len(files)}") from refusal
        return UploadLinks(files=[self._link(batch, file) for file in declared])

    def links(self, batch: Batch, *, start: int) -> MissingLinks:
        """Sign new links for files that are not uploaded yet, from number `start` on.

        Raises:
            BatchClosed: The batch accepts no more uploads.
        """
        _check_open(batch)
        self._note_progress(batch)
        arrived = self._uploads(batch)
        files = (file for number, file in unsettled(self.jobs, batch) if file and number >= start)
        waiting = (
            file for file in files if file.state is FileState.PENDING and batch.upload_key(file.number) not in arrived
        )
        page, after = _page(waiting, self.settings.call_files)
        copied: set[int] = set()
        if batch.retry_of and (old := self.jobs.batch(batch.retry_of)):
            copied = self._copy_from(old, batch, page)
        links = [self._link(batch, file) for file in page if file.number not in copied]
        return MissingLinks(files=links, next=after)

    def close(self, batch: Batch) -> BatchStatus:
        """Accept no more files: those that were not uploaded become missing. Idempotent; no effect after the end."""
        with contextlib.suppress(InvalidTransition):
            self.jobs.close(batch.id)
        return self._finished_status(batch)

    def cancel(self, batch: Batch | Tombstone) -> BatchStatus:
        """Stop what has not started. Idempotent; no effect after the end or a purge."""
        if isinstance(batch, Tombstone):
            return self._purge_status(batch)
        with contextlib.suppress(InvalidTransition):
            self.jobs.decide_end(batch.id, BatchState.CANCELLED, int(time.time()))
        return self._finished_status(batch)

    def purge(self, batch: Batch | Tombstone) -> BatchStatus:
        """Replace a batch's row with its tombstone; the sweeper erases its rows and objects. Idempotent.

        Raises:
            BatchNotFound: It was purged before, and its tombstone has ended.
        """
        if isinstance(batch, Batch):
            now = int(time.time())
            self.jobs.creations.forget(batch)
            self.jobs.tombstones.put(Tombstone.of(batch, now=now, until=now + self.settings.purge_watch_s))
        tombstone = self.jobs.tombstones.find(batch.id)
        if tombstone is None:
            raise BatchNotFound("no such batch")
        return self._purge_status(tombstone)

    def status(self, batch: Batch | Tombstone) -> BatchStatus:
        """Return the status of a batch, and finish it if all its files are terminal."""
        if isinstance(batch, Tombstone):
            return self._purge_status(batch)
        counts = self.recent.of(batch, self.jobs)
        if batch.state is BatchState.RUNNING and not any(counts[state] for state in OPEN_FILE_STATES):
            batch = self._finished(batch)
        ended = sum(counts[state] for state in FileState if state.terminal)
        left = (batch.expected if batch.state is BatchState.OPEN else batch.declared) - ended
        age = max(time.time() - batch.created, 1)
        rate = (counts[FileState.OK] + counts[FileState.FAILED]) / age
        return BatchStatus(
            batch_id=batch.id,
            state=batch.state.value,
            lane=batch.lane.value,
            expected_files=batch.expected,
            declared_files=batch.declared,
            counts={state.value: counts[state] for state in FileState},
            files_per_s=None if batch.state.terminal else round(rate, 3),
            time_left_s=round(left / rate) if rate and not batch.state.terminal else None,
            created=_time(batch.created),
            deadline=_time(batch.deadline),
            retry_of=batch.retry_of,
        )

    def results(self, batch: Batch, *, start: int, limit: int) -> ResultsPage:
        """Return the results of files, from number `start` on."""
        page, after = _page(self.jobs.files(batch, start=start), limit)
        return ResultsPage(results=[self._result(file, batch.options) for file in page], next=after)

    def _new(
        self,
        owner: str,
        *,
        expected: int,
        options: dict[str, Any],
        model: str,
        key: RequestKey | None,
        retry_of: str | None = None,
    ) -> BatchCreated:
        quota = Quota(self.settings.owner_batches, self.settings.owner_files)
        if quota.files and expected > quota.files:
            raise TooManyFiles(f"more than the {quota.files:,} files that may be in flight: make smaller batches")
        now = int(time.time())
        batch = Batch(
            id=str(ULID()),
            owner=owner,
            state=BatchState.OPEN,
            lane=Lane.of_batch(expected, interactive_files=self.settings.interactive_files),
            expected=expected,
            declared=0,
            options=options,
            model=model,
            created=now,
            deadline=now + self.settings.batch_deadline_s,
            expires_at=now + self.settings.row_life_s,
            retry_of=retry_of,
            trace=current_trace(),
            idempotency=key.id if key else None,
        )
        answer = _created(batch)
        if not key and not quota.limits:
            self.jobs.create(batch)
            return answer
        return self._answer_of(self.jobs.creations.create(batch, answer.model_dump_json(), key=key, quota=quota), key)

    @staticmethod
    def _answer_of(creation: Creation, key: RequestKey | None) -> BatchCreated:
        if key and creation.body != key.body:
            raise IdempotencyKeyReused("this Idempotency-Key came with another body: send a new key")
        return BatchCreated.model_validate_json(creation.answer)

    def _check_backend(self, backend: str) -> None:
        if backend == "sagemaker" and not self.settings.async_endpoint:
            wrong = {"loc": ("body", "backend"), "msg": "no endpoint is configured on this server", "type": "backend"}
            raise invalid([wrong])

    def _purge_status(self, tombstone: Tombstone) -> BatchStatus:
        purge = PurgeProgress(files_left=self.jobs.tombstones.files_left(tombstone), ends=_time(tombstone.until))
        return BatchStatus(
            batch_id=tombstone.id,
            state=tombstone.state.value,
            lane=tombstone.lane.value,
            expected_files=tombstone.expected,
            declared_files=tombstone.declared,
            counts={state.value: 0 for state in FileState},
            files_per_s=None,
            time_left_s=None,
            created=_time(tombstone.created),
            deadline=_time(tombstone.deadline),
            retry_of=None,
            purge=purge,
        )

    def _finished(self, batch: Batch) -> Batch:
        """Finish the batch if possible now; on a failure the sweeper does it later."""
        try:
            return self._finish(batch)
        except FAILURES as error:
            count_denial(error)
            level = logging.ERROR if is_denied(error) else logging.WARNING
            logger.log(level, "batch %s could not be finished", batch.id, exc_info=True)
            return batch

    def _finish(self, batch: Batch) -> Batch:
        after = finish_if_done(self.jobs, self.staging, batch)
        if after.state.terminal and not batch.state.terminal:
            current_access().ended[BATCHES_ENDED[after.state]] += 1
        return after

    def _note_progress(self, batch: Batch) -> None:
        note_progress(self.jobs, self.settings, batch, int(time.time()))

    def _reread(self, batch: Batch) -> Batch:
        return self.find(batch.owner, batch.id)

    def _finished_status(self, batch: Batch) -> BatchStatus:
        batch = self._reread(batch)
        if not batch.state.terminal:
            ended = settle_open(self.jobs, self.staging, batch, recount(self.jobs, batch))
            current_access().ended.update({ITEMS[state]: count for state, count in ended.items()})
            batch = self._finish(batch)
        return self.status(batch)

    def _failures(self, batch: Batch) -> list[File]:
        """Return the files to repeat; a number that a call reserved but never wrote has no digest."""
        return [file for file in self.jobs.files(batch) if file.state in REPEATED and file.sha256]

    def _uploads(self, batch: Batch) -> dict[str, Stored]:
        return {stored.key: stored for stored in self.staging.uploaded(batch.upload_prefix)}

    def _copy_from(self, old: Batch, new: Batch, files: Sequence[File]) -> set[int]:
        """Copy uploads of an earlier batch for these files of a new one within the time budget.

        Returns:
            The numbers copied.
        """
        until = time.monotonic() + COPY_BUDGET_S
        uploads = self._uploads(old)
        failures = (file for file in self._failures(old) if file.outcome.get("code") != WRONG_DIGEST)
        keys = ((file.sha256, old.upload_key(file.number)) for file in failures)
        # All other uploads have the declared digest, so equal digests mean equal bytes.
        sources = {digest: uploads[key] for digest, key in keys if key in uploads}

        def copy(file: File) -> bool:
            if file.sha256 not in sources or time.monotonic() > until:
                return False
            return self.staging.copy(sources[file.sha256], new.upload_key(file.number))

        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            done = pool.map(copy, files)
            return {file.number for file, copied in zip(files, done, strict=True) if copied}

    def _link(self, batch: Batch, file: File) -> UploadLink:
        url, headers = self.staging.upload_link(
            file, batch.upload_key(file.number), lifetime_s=self.settings.upload_link_s
        )
        return UploadLink(number=file.number, url=url, headers=headers)

    def _result(self, file: File, options: dict[str, Any]) -> FileResult:
        known = {name: file.outcome.get(name) for name in ("label", "probability", "quality", "familiarity", "code")}
        links = self._result_links(file, options) if file.state is FileState.OK else None
        return FileResult(number=file.number, name=file.name, state=file.state.value, links=links, **known)

    def _result_links(self, file: File, options: dict[str, Any]) -> ResultLinks:
        prefix = attempt_prefix(file.batch, file.number, file.outcome["attempt"])

        def link(name: str) -> str:
            return self.staging.download_link(prefix + name, lifetime_s=self.settings.result_link_s)

        pictures = picture_names(options)
        overlay, map_image = (link(pictures[asked]) if asked in pictures else None for asked in ("overlay", "heatmap"))
        dicom = {kind: link(name) for kind, name in dicom_names(options).items()} or None
        return ResultLinks(overlay=overlay, map_image=map_image, map=link(MAP), result=link(RESULT), dicom=dicom)


def open_service(settings: AwsSettings) -> BatchService:
    """Connect to the bucket and the table, without a request to them yet."""
    clients = connect(settings)
    return BatchService(BatchTable(clients.dynamodb, settings.table), Staging(clients.s3, settings.bucket), settings)


def _page(files: Iterable[File], limit: int) -> tuple[list[File], int | None]:
    """Return the first files, and the number of the next one."""
    taken = list(itertools.islice(files, limit + 1))
    return taken[:limit], taken[limit].number if len(taken) > limit else None


def _check_open(batch: Batch) -> None:
    if batch.state is not BatchState.OPEN:
        raise BatchClosed("the batch takes no more files")


def _declared(file: File | FileDeclaration) -> Declared:
    return Declared(name=file.name, size=file.size, sha256=file.sha256, media_type=file.media_type)


def _created(batch: Batch) -> BatchCreated:
    return BatchCreated(
        batch_id=batch.id,
        state=batch.state.value,
        lane=batch.lane.value,
        expected_files=batch.expected,
        deadline=_time(batch.deadline),
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

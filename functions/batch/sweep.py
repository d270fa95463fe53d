"""Expire, settle and finish the batches that no other call has finished, erase purged ones, re-send lost events.

Every step may be interrupted and repeated. An event is taken for lost when its object is old, its file is still
pending and nothing waits in the queue of its lane; while workers have messages, only if its batch has made no progress
for hours. A batch expires when it has made no progress for long and none of its messages can be in a queue.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

from functions.batch.async_collect import collect_lost
from functions.batch.context import Account
from functions.batch.destinations import SAGEMAKER
from functions.batch.lane_queue import read_backlog
from functions.batch.logs import log_failure, logger, metrics_of, tracing, write_counts
from functions.batch.purge import erase_purged
from heatlens_aws.conditional_writes import InvalidTransition
from heatlens_aws.deadline import last_progress, note_progress
from heatlens_aws.events import REQUEUED, Json
from heatlens_aws.finishing import finish_if_done, settle_open
from heatlens_aws.metrics import BATCHES_ENDED, BATCHES_SWEPT, BATCHES_UNSWEPT, ITEMS, SWEEPER_SUCCESS, Metric
from heatlens_aws.object_keys import Lane
from heatlens_aws.progress import recount
from heatlens_aws.records import Batch, BatchState, File, FileState
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_aws.staging import Stored

BATCHES = 500  # in one sweep, those that waited longest first
MARGIN_S = 10.0
LARGEST = STAGED_LIMITS.file_bytes
GRACE_S = 15 * 60  # an event that is younger may be on its way
IN_FLIGHT_S = 3 * 3600  # the same while workers have messages: five deliveries take less
RESEND_MOST = 3  # times that a file's lost event is sent again


def sweep(account: Account, now: int, time_left: Callable[[], float]) -> dict[str, int]:
    """Erase purged batches and advance those that have not ended, as far as the time suffices.

    Args:
        account: Table, bucket and queue.
        now: Seconds since 1970.
        time_left: Seconds until the invocation is killed.

    Returns:
        How many batches were swept, and how many of them failed.
    """
    counts = erase_purged(account, now, time_left)
    for name in account.jobs.unfinished(limit=BATCHES):
        if time_left() < MARGIN_S:
            break
        counts[BATCHES_SWEPT] += 1
        # Postponed first: otherwise a batch that uses up the time would keep the others waiting forever.
        with suppress(Exception):
            account.jobs.postpone(name, now)
        try:
            with tracing().section("batch", batch=name):
                counts.update(advance(account, name, now))
        except Exception as error:
            counts[BATCHES_UNSWEPT] += 1
            log_failure("unswept", error, counts, batch=name)
    if not counts[BATCHES_UNSWEPT]:
        counts[SWEEPER_SUCCESS] = 1
    write_counts(metrics_of("sweeper"), counts)
    return {"swept": counts[BATCHES_SWEPT], "failed": counts[BATCHES_UNSWEPT]}


def advance(account: Account, name: str, now: int) -> Counter[Metric]:
    """Do everything that is due for one batch.

    Returns:
        The files and batches that ended by this, as metrics.
    """
    counts: Counter[Metric] = Counter()
    batch = account.jobs.batch(name)
    if batch is None or batch.state.terminal:
        return counts
    found = recount(account.jobs, batch, remember_from=1)
    if now >= batch.deadline and not batch.ending and not _may_wait(account, batch, now, found.open_files):
        with suppress(InvalidTransition):
            account.jobs.decide_end(name, BatchState.EXPIRED, now)
        batch = account.jobs.batch(name) or batch
    if batch.state is BatchState.RUNNING:
        ended = settle_open(account.jobs, account.staging, batch, found)
        counts.update({ITEMS[state]: count for state, count in ended.items()})
    if not batch.ending:
        send_lost(account, batch, now, found.open_files)
        if batch.options.get("backend") == SAGEMAKER:
            lost = collect_lost(account, batch, now, found.open_files, max_bytes=LARGEST)
            counts += Counter({ITEMS[state]: lost[state] for state in (FileState.OK, FileState.FAILED)})  # without 0
    after = finish_if_done(account.jobs, account.staging, replace(batch, progress=found.progress))
    if after.state.terminal:
        counts[BATCHES_ENDED[after.state]] += 1
    return counts


def send_lost(account: Account, batch: Batch, now: int, open_files: Sequence[File]) -> int:
    """Re-send the events that must have been lost, of files that were open a moment ago, to the queue of their lane.

    While messages wait there, a lost event looks like one that waits, and a copy would only wait behind them.

    Returns:
        How many.
    """
    if not account.settings.queue_url(batch.lane):
        return 0
    backlog = read_backlog(account, batch.lane)
    if backlog.waiting:
        return 0
    latest = now - (IN_FLIGHT_S if backlog.in_flight else GRACE_S)
    # What is in flight may be of this batch, however old its uploads are: its messages may have been sent back since.
    if backlog.in_flight and last_progress(account.settings, batch) > latest:
        return 0
    sent = 0
    for stored, file in _pending_uploads(account, batch, open_files):
        if stored.modified is None or stored.modified > latest:
            continue
        if account.jobs.count_resend(file, now=now, after_s=GRACE_S, most=RESEND_MOST):
            _send(account, batch.lane, stored, suspect=file.resends > 0)
            sent += 1
    if sent:
        note_progress(account.jobs, account.settings, batch, now)
        logger.info("lost", batch=batch.id, events=sent)
    return sent


def _may_wait(account: Account, batch: Batch, now: int, open_files: Sequence[File]) -> bool:
    """Return whether an upload's message may be in its queue still: the queue is not empty, and keeps it so long.

    A message that was sent back is younger. It has moved the deadline, which is later than the queue keeps it.
    """
    if not account.settings.queue_url(batch.lane):
        return False
    backlog = read_backlog(account, batch.lane)
    if not (backlog.waiting or backlog.in_flight):
        return False
    oldest = now - account.settings.queue_retention_s
    pending = _pending_uploads(account, batch, open_files)
    return any(max(stored.modified or 0, file.resent_at) > oldest for stored, file in pending)


def _pending_uploads(account: Account, batch: Batch, open_files: Sequence[File]) -> Iterator[tuple[Stored, File]]:
    """List the uploads that no worker had ended a moment ago."""
    pending = {batch.upload_key(file.number): file for file in open_files if file.state is FileState.PENDING}
    for stored in account.staging.uploaded(batch.upload_prefix) if pending else ():
        if stored.key in pending:
            yield stored, pending[stored.key]


def _send(account: Account, lane: Lane, stored: Stored, *, suspect: bool) -> None:
    """Send an event; from the second time on as that of a file which may have killed its worker."""
    account.sqs.send_message(
        QueueUrl=account.settings.queue_url(lane),
        MessageBody=json.dumps(_event(account.settings.bucket, stored)),
        MessageAttributes={REQUEUED: {"DataType": "String", "StringValue": "1"}} if suspect else {},
    )


def _event(bucket: str, stored: Stored) -> Json:
    """Write the part of an S3 event that is read."""
    thing: dict[str, Any] = {"key": quote_plus(stored.key), "eTag": (stored.etag or "").strip('"')}
    if stored.version:
        thing["versionId"] = stored.version
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": thing}}
    return {"Records": [record]}

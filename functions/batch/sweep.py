"""An account -> its batches that nobody else brings on: expired, settled, finished, lost events sent again.

Every step may be interrupted and repeated. An event is taken for lost when its object has lain for long, its file
still waits and the queue has nothing waiting.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote_plus

from functions.batch.async_collect import collect_lost
from functions.batch.context import Account
from functions.batch.destinations import SAGEMAKER
from functions.batch.lambda_types import Json
from functions.batch.logs import line, trouble
from heatlens_aws.batch_table import InvalidTransition
from heatlens_aws.events import AGAIN
from heatlens_aws.finishing import finish_if_done, settle_open
from heatlens_aws.object_keys import upload_key
from heatlens_aws.records import Batch, BatchState, File, FileState
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_aws.staging import Stored

BATCHES = 500  # looked at in one sweep, those that waited longest first
MARGIN_S = 10.0
LARGEST = STAGED_LIMITS.file_bytes
GRACE_S = 15 * 60  # an event that is younger may be on its way
PATIENCE_S = 6 * 3600  # the same while the queue is never empty
ASK_MOST = 3  # times that a file's lost event is sent again


def sweep(account: Account, now: int, time_left: Callable[[], float]) -> dict[str, int]:
    """Bring on the batches without an end, as far as the time goes.

    Args:
        account: Table, bucket and queue.
        now: Seconds since 1970.
        time_left: Seconds until the invocation is killed.

    Returns:
        How many batches were looked at, and how many of them met a trouble.
    """
    swept = troubled = 0
    for name in account.jobs.unfinished(limit=BATCHES):
        if time_left() < MARGIN_S:
            break
        swept += 1
        # Before, or a batch that takes all the time there is would keep the others waiting for ever.
        with suppress(Exception):
            account.jobs.look_again(name, now)
        try:
            bring_on(account, name, now)
        except Exception as error:
            troubled += 1
            line("unswept", batch=name, trouble=trouble(error))
    return {"swept": swept, "troubled": troubled}


def bring_on(account: Account, name: str, now: int) -> None:
    """Do all that is due to one batch."""
    batch = account.jobs.batch(name)
    if batch is None or batch.state.terminal:
        return
    if now >= batch.deadline and not batch.ending:
        with suppress(InvalidTransition):
            account.jobs.end_with(name, BatchState.EXPIRED, now)
        batch = account.jobs.batch(name) or batch
    if batch.state is BatchState.RUNNING:
        settle_open(account.jobs, account.staging, batch)
    if not batch.ending:
        send_lost(account, batch, now)
        if batch.options.get("backend") == SAGEMAKER:
            collect_lost(account, batch, now, max_bytes=LARGEST)
    finish_if_done(account.jobs, account.staging, batch)


def send_lost(account: Account, batch: Batch, now: int) -> int:
    """Send the events again that must have been lost.

    Returns:
        How many.
    """
    waiting = {upload_key(batch.id, file.number): file for file in account.jobs.files(batch) if _waits(file)}
    if not waiting or not account.settings.queue_url:
        return 0
    # While messages wait, a file that waits is hardly a sign that its event is lost: only one that waits for very long.
    latest = now - (PATIENCE_S if _backlog(account) else GRACE_S)
    sent = 0
    for stored in account.staging.uploaded(f"in/{batch.id}/"):
        file = waiting.get(stored.key)
        if file is None or stored.modified is None or stored.modified > latest:
            continue
        if account.jobs.ask_again(file, now=now, after_s=GRACE_S, most=ASK_MOST):
            _send(account, stored)
            sent += 1
    if sent:
        line("lost", batch=batch.id, events=sent)
    return sent


def _waits(file: File) -> bool:
    return file.state is FileState.PENDING


def _backlog(account: Account) -> bool:
    """Whether messages wait."""
    name = "ApproximateNumberOfMessages"
    answer = account.sqs.get_queue_attributes(QueueUrl=account.settings.queue_url, AttributeNames=[name])
    return int(answer["Attributes"][name]) > 0


def _send(account: Account, stored: Stored) -> None:
    account.sqs.send_message(
        QueueUrl=account.settings.queue_url,
        MessageBody=json.dumps(_event(account.settings.bucket, stored)),
        MessageAttributes={AGAIN: {"DataType": "String", "StringValue": "1"}},
    )


def _event(bucket: str, stored: Stored) -> Json:
    """What S3 would send, as far as it is read."""
    thing: dict[str, Any] = {"key": quote_plus(stored.key), "eTag": (stored.etag or "").strip('"')}
    if stored.version:
        thing["versionId"] = stored.version
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": thing}}
    return {"Records": [record]}

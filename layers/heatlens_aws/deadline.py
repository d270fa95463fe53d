"""Count a batch's deadline from its last progress: a file that was declared, re-sent, sent back, submitted or ended."""

from heatlens_aws.batch_table import BatchTable
from heatlens_aws.records import Batch
from heatlens_aws.settings import PROGRESS_S, AwsSettings


def note_progress(jobs: BatchTable, settings: AwsSettings, batch: Batch, now: int) -> None:
    """Move the deadline of a batch, but never beyond the life of its rows.

    It is written once an hour at most, so the deadline is up to an hour early. `HEATLENS_BATCH_DEADLINE_S` is that much
    longer than the life of a message.
    """
    deadline = min(now + settings.batch_deadline_s, batch.expires_at)
    if batch.deadline < deadline - PROGRESS_S:
        jobs.extend_deadline(batch.id, deadline)


def last_progress(settings: AwsSettings, batch: Batch) -> int:
    """Return a time, in seconds since 1970, after which a batch has made no progress; it is up to an hour late."""
    return batch.deadline - settings.batch_deadline_s + PROGRESS_S

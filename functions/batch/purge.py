"""Erase purged batches: their rows and all versions of their objects, again and again until their tombstones' end.

Links, messages and attempts outlive a purge and may write for its batch. A pass that is interrupted anywhere is
repeated by the next sweep.
"""

from collections import Counter
from collections.abc import Callable
from itertools import chain

from functions.batch.context import Account
from functions.batch.logs import log_failure, logger
from heatlens_aws.metrics import BATCHES_SWEPT, BATCHES_UNSWEPT, Metric
from heatlens_aws.object_keys import batch_prefixes
from heatlens_aws.tombstones import Tombstone

BATCHES = 500  # in one sweep, those that waited longest first
MARGIN_S = 10.0
SHARE = 0.5  # of a sweep's time: batches that have not ended need the rest
SOONEST_S, LATEST_S = 60, 3600  # between two passes over a batch: as long as it has been purged, within these


def erase_purged(account: Account, now: int, time_left: Callable[[], float]) -> Counter[Metric]:
    """Erase what is left of the purged batches that are due, as far as the time suffices.

    Args:
        account: Table and bucket.
        now: Seconds since 1970.
        time_left: Seconds until the invocation is killed.

    Returns:
        How many batches were visited, and how many of them failed, as metrics.
    """
    counts: Counter[Metric] = Counter({BATCHES_SWEPT: 0, BATCHES_UNSWEPT: 0})
    due = account.jobs.tombstones.due(now, limit=BATCHES)
    reserve = max(MARGIN_S, SHARE * time_left()) if due else 0
    for name in due:
        if time_left() < reserve:
            break
        counts[BATCHES_SWEPT] += 1
        try:
            _visit(account, name, now, lambda: time_left() >= reserve)
        except Exception as error:
            counts[BATCHES_UNSWEPT] += 1
            log_failure("unerased", error, counts, batch=name)
    return counts


def _visit(account: Account, name: str, now: int, has_time: Callable[[], bool]) -> None:
    """Make one pass over a batch, and end its tombstone after the last one."""
    tombstones = account.jobs.tombstones
    # Postponed first: otherwise a batch that fails or uses up the time would keep the others waiting forever.
    tombstones.postpone(name, now + SOONEST_S)
    tombstone = tombstones.find(name)
    if tombstone is None or not _erase(account, tombstone, has_time):
        return
    if now >= tombstone.until:
        tombstones.remove(name)
    else:
        wait = min(max(now - tombstone.purged_at, SOONEST_S), LATEST_S)
        tombstones.erased(name, min(now + wait, tombstone.until))


def _erase(account: Account, tombstone: Tombstone, has_time: Callable[[], bool]) -> bool:
    """Erase in portions, rows first, because they have the names; return whether nothing is left."""
    portions = chain(
        account.jobs.tombstones.erase_files(tombstone),
        *(account.staging.erase_portions(prefix) for prefix in batch_prefixes(tombstone.id)),
    )
    erased, done = 0, True
    for count in portions:
        erased += count
        if not has_time():
            done = False
            break
    if erased:
        logger.info("erased", batch=tombstone.id, rows_and_objects=erased, done=done)
    return done

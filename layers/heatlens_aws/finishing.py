"""Finish a batch whose files have all ended: write results.jsonl and manifest.json, then its own end, each once.

The API's reads, the worker and the sweeper all call this; it may be interrupted and repeated anywhere. The documents
are made from files that can no longer change, sorted, without a clock, so every call would write the same bytes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from heatlens_aws.batch_table import BatchTable, Outcome
from heatlens_aws.object_keys import manifest_key, results_key
from heatlens_aws.progress import Recount, all_ended
from heatlens_aws.records import Batch, BatchState, File, FileState
from heatlens_aws.staging import Staging

MANIFEST_VERSION = 1
AT_ONCE = 10  # connections of one client
DEADLINE_CODE = "batch.deadline"


def finish_if_done(jobs: BatchTable, staging: Staging, batch: Batch) -> Batch:
    """Finish a batch that accepts no more files and whose files have all ended.

    Args:
        jobs: The table.
        staging: The bucket.
        batch: As read.

    Returns:
        The batch as it is afterwards.
    """
    if batch.state is not BatchState.RUNNING:
        return batch
    # Most calls come long before the end, and a batch may have 10,000 files: these are read once, at its end.
    if not all_ended(jobs, batch):
        return batch
    files = list(jobs.files(batch))
    if len(files) < batch.declared:  # purged meanwhile
        return batch
    if jobs.batch(batch.id) is None:  # purged since it was read: the manifest would have the names of its files
        return batch
    results = _results(files)
    staging.write_once(results_key(batch.id), results, "application/x-ndjson")
    staging.write_once(manifest_key(batch.id), _manifest(batch, files, results), "application/json")
    counts = Counter(file.state for file in files)
    jobs.finish(batch, final_state(batch, counts), counts)
    after = jobs.batch(batch.id)
    if after is None:  # purged meanwhile: the documents just written have the names of its files
        jobs.tombstones.wake(batch.id)
    return after or batch


def settle_open(jobs: BatchTable, staging: Staging, batch: Batch, found: Recount) -> Counter[FileState]:
    """End the open files of a closed, cancelled or expired batch that are due, as `found` has them.

    In a cancelled batch all are cancelled. Otherwise a file that was never uploaded is missing; an uploaded one stays
    open for its worker, unless the batch expired: then it failed by the deadline. Numbers that a declaring call
    reserved before it died, without writing their rows, are missing too.

    Returns:
        How many files this call ended, by their ends.
    """
    for number in found.gaps:
        jobs.fill_gap(batch, number)
    uploaded: set[str] = set()
    if found.open_files and batch.ending is not BatchState.CANCELLED:
        uploaded = {stored.key for stored in staging.uploaded(batch.upload_prefix)}

    def settle(file: File) -> FileState | None:
        due = _due(batch, is_uploaded=batch.upload_key(file.number) in uploaded)
        return due[0] if due and jobs.settle(batch.id, file.number, *due) else None

    # One after another, ten thousand would take longer than the gateway waits.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(state for state in pool.map(settle, found.open_files) if state)


def final_state(batch: Batch, counts: Counter[FileState]) -> BatchState:
    """Return the end of a batch whose files have all ended."""
    if batch.ending:
        return batch.ending
    if counts[FileState.OK] == counts.total():
        return BatchState.SUCCEEDED
    return BatchState.PARTIAL if counts[FileState.OK] else BatchState.FAILED


def _due(batch: Batch, *, is_uploaded: bool) -> tuple[FileState, Outcome] | None:
    if batch.ending is BatchState.CANCELLED:
        return FileState.CANCELLED, {}
    if not is_uploaded:
        return FileState.MISSING, {}
    return (FileState.FAILED, {"code": DEADLINE_CODE}) if batch.ending is BatchState.EXPIRED else None


def _results(files: Sequence[File]) -> bytes:
    """Write a line per file, without the clients' file names: those are in the manifest only."""
    rows = ({"number": file.number, "state": file.state.value, **file.outcome} for file in files)
    return "".join(_canonical(row) + "\n" for row in rows).encode()


def _manifest(batch: Batch, files: Sequence[File], results: bytes) -> bytes:
    # The batch's own end is left out: another may be decided between this document and the row.
    manifest = {
        "schema_version": MANIFEST_VERSION,
        "batch": batch.id,
        "lane": batch.lane.value,
        "model": batch.model,
        "options": batch.options,
        "counts": {state.value: count for state, count in Counter(file.state for file in files).items()},
        "results": {"key": results_key(batch.id), "sha256": hashlib.sha256(results).hexdigest()},
        "files": [
            {
                "number": file.number,
                "name": file.name,
                "sha256": file.sha256,
                "state": file.state.value,
                "outcome": file.outcome,
            }
            for file in files
        ],
    }
    return (_canonical(manifest) + "\n").encode()


def _canonical(value: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)

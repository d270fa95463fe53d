"""A batch whose files all have their end -> results.jsonl, manifest.json, and the batch's own end, each once.

The API's reads, the worker and the sweeper all call this; it may be interrupted and repeated anywhere. What it writes
is made from files that can no longer change, sorted, without a clock, so whoever writes first writes what all would.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any

from heatlens_aws.batch_table import BatchTable, Outcome
from heatlens_aws.object_keys import OUT, manifest_key, results_key, upload_key
from heatlens_aws.records import Batch, BatchState, File, FileState
from heatlens_aws.staging import Staging

MANIFEST_VERSION = 1
AT_ONCE = 10  # connections of one client
DEADLINE_CODE = "batch.deadline"


def finish_if_done(jobs: BatchTable, staging: Staging, batch: Batch) -> Batch:
    """Finish a batch that takes no more files and whose files all have their end.

    Args:
        jobs: The table.
        staging: The bucket.
        batch: As read.

    Returns:
        The batch as it is after.
    """
    if batch.state is not BatchState.RUNNING:
        return batch
    # Up to the first that is open: most calls come long before the end, and a batch may have 10,000 files.
    files = list(takewhile(lambda file: file.state.terminal, jobs.files(batch)))
    if len(files) < batch.declared:
        return batch
    results = _results(files)
    staging.write_once(results_key(batch.id), results, "application/x-ndjson")
    staging.write_once(manifest_key(batch.id), _manifest(batch, files, results), "application/json")
    jobs.finish(batch, ended(batch, Counter(file.state for file in files)))
    after = jobs.batch(batch.id)
    if after is None:  # purged meanwhile: what was just written has the names of its files
        staging.erase(f"{OUT}{batch.id}/")
    return after or batch


def settle_open(jobs: BatchTable, staging: Staging, batch: Batch) -> None:
    """Give every open file of a closed, cancelled or expired batch the end that is due to it.

    Cancelled: all are cancelled. Otherwise what never arrived is missing; what arrived stays open for its worker,
    unless the batch expired: then it failed by the deadline. Numbers that a declaring call took and then died before
    it could write their rows are missing too.
    """
    files = list(jobs.files(batch))
    for number in set(range(batch.declared)) - {file.number for file in files}:
        jobs.fill_gap(batch, number)
    open_files = [file for file in files if not file.state.terminal]
    arrived: set[str] = set()
    if open_files and batch.ending is not BatchState.CANCELLED:
        arrived = {stored.key for stored in staging.uploaded(f"in/{batch.id}/")}

    def settle(file: File) -> None:
        due = _due(batch, here=upload_key(batch.id, file.number) in arrived)
        if due:
            jobs.settle(batch.id, file.number, *due)

    # One after the other, ten thousand would take longer than a gateway waits.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(settle, open_files))


def ended(batch: Batch, counts: Counter[FileState]) -> BatchState:
    """The end of a batch whose files have theirs."""
    if batch.ending:
        return batch.ending
    if counts[FileState.OK] == counts.total():
        return BatchState.SUCCEEDED
    return BatchState.PARTIAL if counts[FileState.OK] else BatchState.FAILED


def _due(batch: Batch, *, here: bool) -> tuple[FileState, Outcome] | None:
    if batch.ending is BatchState.CANCELLED:
        return FileState.CANCELLED, {}
    if not here:
        return FileState.MISSING, {}
    return (FileState.FAILED, {"code": DEADLINE_CODE}) if batch.ending is BatchState.EXPIRED else None


def _results(files: Sequence[File]) -> bytes:
    """A line per file, without the clients' file names: those are in the manifest only."""
    rows = ({"number": file.number, "state": file.state.value, **file.outcome} for file in files)
    return "".join(_canonical(row) + "\n" for row in rows).encode()


def _manifest(batch: Batch, files: Sequence[File], results: bytes) -> bytes:
    # The batch's own end is not in it: another may be decided between this document and the row.
    manifest = {
        "schema_version": MANIFEST_VERSION,
        "batch": batch.id,
        "model": batch.model,
        "options": batch.options,
        "counts": {each.value: count for each, count in Counter(file.state for file in files).items()},
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

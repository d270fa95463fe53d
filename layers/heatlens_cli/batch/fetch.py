"""Wait for the end of the batches, download the heatmaps and write `results.jsonl`."""

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.batch.client import BatchClient
from heatlens_cli.batch.download import Download, DownloadError
from heatlens_cli.batch.journal import BatchFailed, Part
from heatlens_cli.batch.names import RESULTS
from heatlens_cli.console import say, shown
from heatlens_cli.progress import Bars
from heatlens_cli.sources import RejectedFile
from heatlens_cli.worker_pool import THREADS, open_worker_pool
from heatlens_web.schemas.batches import BatchStatus, FileResult

OPEN_STATES = {"open", "running"}
FIRST_POLL_S, POLL_S = 0.5, 5.0  # the server's counts are up to 5 s old
TIMEOUT_S = 60  # without receiving a byte


@dataclass(slots=True)
class FileOutcome:
    """How many files were downloaded, failed, or could not be downloaded."""

    done: int = 0
    failed: int = 0
    unfetched: int = 0


def wait(client: BatchClient, parts: list[Part], bars: Bars) -> None:
    """Wait until every batch has ended."""
    total = sum(len(part.files) for part in parts)
    bars.expect("explain", total)
    seen: dict[str, BatchStatus] = {}
    for turn in itertools.count():
        for part in parts:
            if part.batch_id not in seen or seen[part.batch_id].state in OPEN_STATES:
                seen[part.batch_id] = client.status(part.batch_id)
        still = [status for status in seen.values() if status.state in OPEN_STATES]
        rate = sum(status.files_per_s or 0 for status in still)
        left = max((status.time_left_s or 0 for status in still), default=0)
        bars.show("explain", min(sum(map(_ended, seen.values())), total), rate=rate, left=left)
        if not still:
            return
        time.sleep(min(FIRST_POLL_S * 2 ** min(turn, 10), POLL_S))


def fetch(
    client: BatchClient, parts: list[Part], folder: Path, bars: Bars, refused: Mapping[str, RejectedFile]
) -> FileOutcome:
    """Download the missing heatmaps and rewrite `results.jsonl`.

    Args:
        client: Calls the server that has the batches.
        parts: Batches that have ended.
        folder: Folder for the heatmaps.
        bars: Progress bars.
        refused: Files that were not sent, by name.

    Raises:
        BatchFailed: The storage or the output folder fails for every file.
    """
    bars.expect("fetch", sum(len(part.files) for part in parts))
    outcome, in_a_row = FileOutcome(), 0
    try:
        with (
            write_atomically(folder / RESULTS, overwrite=True) as lines,
            httpx2.Client(timeout=TIMEOUT_S) as storage,
            open_worker_pool() as workers,
        ):
            for line, failure in _each(parts, Download(client, storage, folder, workers), refused):
                lines.write(f"{json.dumps(line)}\n".encode())
                bars.advance("fetch", line["number"] is not None)
                _count(outcome, line, failure, refused.get(line["name"]))
                in_a_row = in_a_row + 1 if failure and failure.lasting else 0
                if failure and in_a_row == THREADS:
                    raise BatchFailed(
                        f"the storage refuses downloads ({failure}): run the same command again to continue"
                    )
    except OSError as error:
        raise BatchFailed(f"{folder / RESULTS}: {error.strerror}") from error
    return outcome


def _each(
    parts: list[Part], download: Download, refused: Mapping[str, RejectedFile]
) -> Iterator[tuple[dict[str, Any], DownloadError | None]]:
    """Yield the line of every file for `results.jsonl`, and why its heatmap could not be downloaded."""
    unsent = dict(refused)
    for part in parts:
        names = {each.number: each.name for each in part.files}
        for page in download.client.results(part.batch_id):
            # A number is unknown here if its file has changed since and was sent again.
            results = [each for each in page if each.number in names]
            theirs = [names[each.number] for each in results]
            failures = download.workers.executor.map(download.fetch, itertools.repeat(part.batch_id), results, theirs)
            for result, name, failure in zip(results, theirs, failures, strict=True):
                yield _line(part, result, name, unsent.pop(name, None)), failure
    for name, refusal in unsent.items():
        download.remove(name)
        known = dict.fromkeys(("label", "probability", "quality", "familiarity"))
        yield {"batch": None, "number": None, "name": name, "state": "FAILED", **known, "code": refusal.code}, None


def _line(part: Part, result: FileResult, name: str, refusal: RejectedFile | None) -> dict[str, Any]:
    line = {"batch": part.batch_id} | result.model_dump(exclude={"links"}) | {"name": name}
    return line | {"code": refusal.code} if refusal else line


def _count(
    outcome: FileOutcome, line: dict[str, Any], failure: DownloadError | None, refusal: RejectedFile | None
) -> None:
    name = shown(line["name"])
    if line["state"] != "OK":
        outcome.failed += 1
        why = f" ({refusal.why})" if refusal else ""
        say(f"{name}: {line['state']} {line['code'] or ''}{why}")
    elif failure:
        outcome.unfetched += 1
        say(f"{name}: heatmap not downloaded: {failure}")
    else:
        outcome.done += 1


def _ended(status: BatchStatus) -> int:
    return sum(count for state, count in status.counts.items() if state not in ("PENDING", "SUBMITTED"))

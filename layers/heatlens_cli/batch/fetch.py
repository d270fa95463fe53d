"""Wait for the end of the batches, download the heatmaps and write `results.jsonl`."""

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from heatlens.client import ClientError
from heatlens.client.batch_records import BatchStatus, FileResult
from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.batch.client import BatchClient
from heatlens_cli.batch.download import remove_results, wanted_kinds, written_suffixes
from heatlens_cli.batch.journal import BatchFailed, Part, Run
from heatlens_cli.batch.names import RESULTS
from heatlens_cli.console import say, shown
from heatlens_cli.progress import Bars
from heatlens_cli.sources import RejectedFile
from heatlens_cli.worker_pool import THREADS, WorkerPool, open_worker_pool

FIRST_POLL_S, POLL_S = 0.5, 5.0  # the server's counts are up to 5 s old
FACTS = ("number", "name", "state", "label", "probability", "quality", "familiarity", "code")


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
            if part.batch_id not in seen or not seen[part.batch_id].ended:
                seen[part.batch_id] = client.status(part.batch_id)
        still = [status for status in seen.values() if not status.ended]
        rate = sum(status.files_per_s or 0 for status in still)
        left = max((status.time_left_s or 0 for status in still), default=0)
        bars.show("explain", min(sum(status.ended_files for status in seen.values()), total), rate=rate, left=left)
        if not still:
            return
        time.sleep(min(FIRST_POLL_S * 2 ** min(turn, 10), POLL_S))


@dataclass(frozen=True, slots=True)
class Fetch:
    """Downloads the results of the batches of a run into a folder."""

    client: BatchClient
    run: Run
    folder: Path
    bars: Bars

    def __call__(self, refused: Mapping[str, RejectedFile]) -> FileOutcome:
        """Download what is missing and rewrite `results.jsonl`; `refused` are files that were not sent, by name.

        Raises:
            BatchFailed: The storage or the output folder fails for every file.
        """
        self.bars.expect("fetch", sum(len(part.files) for part in self.run.parts))
        outcome, in_a_row = FileOutcome(), 0
        try:
            with write_atomically(self.folder / RESULTS, overwrite=True) as lines, open_worker_pool() as workers:
                for line, failure in self._each(workers, refused):
                    lines.write(f"{json.dumps(line)}\n".encode())
                    self.bars.advance("fetch", line["number"] is not None)
                    _count(outcome, line, failure, refused.get(line["name"]))
                    in_a_row = in_a_row + 1 if failure and failure.retryable else 0
                    if failure and in_a_row == THREADS:
                        raise BatchFailed(
                            f"the storage refuses downloads ({failure}): run the same command again to continue"
                        )
        except OSError as error:
            raise BatchFailed(f"{self.folder / RESULTS}: {error.strerror}") from error
        return outcome

    def _each(
        self, workers: WorkerPool, refused: Mapping[str, RejectedFile]
    ) -> Iterator[tuple[dict[str, Any], ClientError | None]]:
        """Yield the line of every file for `results.jsonl`, and why its results could not be downloaded."""
        unsent = dict(refused)
        for part in self.run.parts:
            names = {each.number: each.name for each in part.files}
            for page in self.client.results(part.batch_id):
                # A number is unknown here if its file has changed since and was sent again.
                results = [replace(each, name=names[each.number]) for each in page if each.number in names]
                one = partial(self._one, part.batch_id, workers)
                for result, failure in zip(results, workers.executor.map(one, results), strict=True):
                    yield _line(part, result, unsent.pop(result.name, None)), failure
        for name, refusal in unsent.items():
            remove_results(self.folder, name, written_suffixes(self.run.options))
            known = dict.fromkeys(FACTS) | {"name": name, "state": "FAILED", "code": refusal.code}
            yield {"batch": None} | known, None

    def _one(self, batch: str, workers: WorkerPool, result: FileResult) -> ClientError | None:
        """Download the results of one file; return why they could not be, or None."""
        if result.links is None:
            remove_results(self.folder, result.name, written_suffixes(self.run.options))
            return None
        return self.client.download(batch, result, self.folder, workers, wanted_kinds(self.run.options)).error


def _line(part: Part, result: FileResult, refusal: RejectedFile | None) -> dict[str, Any]:
    facts = asdict(result)
    line = {"batch": part.batch_id} | {name: facts[name] for name in FACTS}
    return line | {"code": refusal.code} if refusal else line


def _count(
    outcome: FileOutcome, line: dict[str, Any], failure: ClientError | None, refusal: RejectedFile | None
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

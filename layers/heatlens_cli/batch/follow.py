"""Follow, end and repeat a staged batch by its id."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from heatlens.client import BatchStatus, Client, FileResult, Progress, StagedBatch
from heatlens_cli.batch.progress_lines import open_bars
from heatlens_cli.batch.run import parse_headers
from heatlens_cli.console import complain, say, shown
from heatlens_cli.progress import Bars

OK = "OK"


@contextmanager
def open_batch(batch_id: str, url: str, header: Sequence[str] | None, *, iam: bool) -> Iterator[StagedBatch]:
    """Find a batch on a server.

    Raises:
        ClientError: There is none, or the server refuses or does not answer.
    """
    with Client(url, headers=parse_headers(list(header or [])), auth="iam" if iam else None) as client:
        yield client.open_batch(batch_id)


def print_status(status: BatchStatus) -> None:
    """Print the state of a batch in a line, and its counts in another."""
    say(f"batch {status.batch_id}: {status.state}, {status.declared_files} of {status.expected_files} files declared")
    say(", ".join(f"{count} {state}" for state, count in status.counts.items() if count) or "no files")
    if status.files_per_s and not status.ended:
        left = f", about {status.time_left_s} s left" if status.time_left_s is not None else ""
        say(f"{status.files_per_s:.1f} files per second{left}")
    if status.purge:
        say(f"{status.purge.files_left} files left to erase")
        say(f"late uploads are erased until {status.purge.ends:%Y-%m-%d %H:%M} UTC")


def print_results(batch: StagedBatch, folder: Path | None, *, as_json: bool) -> int:
    """Print the result of each file, and download what there is into a folder.

    Returns:
        The exit status: 0 if every file succeeded, else 1.
    """
    failed = 0
    for result in batch.results():
        failed += result.state != OK
        _print_result(result, as_json=as_json)
    return int(failed + (_download(batch, folder) if folder else 0) > 0)


def repeat(batch: StagedBatch) -> int:
    """Repeat what failed in a batch, and print the results.

    Returns:
        The exit status: 0 if every file succeeded, else 1.
    """
    again = batch.retry()
    say(f"batch {again.id} repeats what failed in {batch.id}")
    bars = open_bars()
    with bars.live:
        again.upload()
        again.wait(_Shows(bars))
    return print_results(again, None, as_json=False)


def _print_result(result: FileResult, *, as_json: bool) -> None:
    if as_json:
        facts = asdict(result)
        del facts["links"]  # they open the results to anyone, for minutes
        say(json.dumps(facts))
    elif result.state == OK:
        say(f"{shown(result.name)}: {result.label} {result.probability:.4f}, map {result.quality}")
    else:
        say(f"{shown(result.name)}: {result.state} {result.code or ''}".rstrip())


def _download(batch: StagedBatch, folder: Path) -> int:
    """Download the results; return how many files could not be."""
    bars = open_bars()
    with bars.live:
        downloaded = batch.download(folder, _Shows(bars))
    failures = [each for each in downloaded if each.error]
    for each in failures:
        complain(f"{shown(each.name)}: not downloaded: {each.error}")
    return len(failures)


class _Shows:
    """Shows the progress of the client's stages."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._totals: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        """Show one."""
        if progress.total != self._totals.get(progress.stage, 0):
            self._bars.expect(progress.stage, progress.total - self._totals.get(progress.stage, 0))
            self._totals[progress.stage] = progress.total
        self._bars.show(progress.stage, progress.done, rate=progress.files_per_s, left=progress.time_left_s)

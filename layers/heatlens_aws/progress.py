"""Count a batch's files and find its open ones, reading only the rows that are not known to have ended."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from heatlens_aws.batch_table import READ_CHUNK, BatchTable
from heatlens_aws.records import Batch, File, FileState, Progress

OPEN_KEPT = 200  # open numbers in a batch's row; with more, `upto` is lower
REMEMBERED_FROM = 100  # newly ended files: fewer are not worth a write


@dataclass(frozen=True, slots=True)
class Recount:
    """A count of all files: `counts` by state, the rows of those that are open, and numbers without a row.

    A number has no row while a declaring call writes it, or after that call died.
    """

    counts: Counter[FileState]
    open_files: list[File]
    gaps: list[int]
    progress: Progress


def recount(jobs: BatchTable, batch: Batch, *, remember_from: int = REMEMBERED_FROM) -> Recount:
    """Count a batch's files from their rows, and remember the count for the next one.

    Args:
        jobs: The table.
        batch: As read; rows that its progress knows to have ended are not read again.
        remember_from: Files that must have ended since the remembered count.
    """
    known = batch.progress
    ended, open_files, gaps = list[File](), list[File](), list[int]()
    for number, file in unsettled(jobs, batch):
        if file is None:
            gaps.append(number)
        else:
            (ended if file.state.terminal else open_files).append(file)
    numbers = sorted(gaps + [file.number for file in open_files])
    upto = numbers[OPEN_KEPT] if len(numbers) > OPEN_KEPT else batch.declared
    found = Counter(file.state for file in ended if file.number < upto)
    progress = Progress(upto=upto, open=tuple(numbers[:OPEN_KEPT]), counts=known.counts + found)
    if progress.ended >= known.ended + remember_from:
        jobs.remember(batch.id, progress)
    counts = known.counts + Counter(file.state for file in ended + open_files)
    return Recount(counts, open_files, gaps, progress)


def all_ended(jobs: BatchTable, batch: Batch) -> bool:
    """Return whether every number has a row that has ended, reading up to the first open one only."""
    return all(file is not None and file.state.terminal for _, file in unsettled(jobs, batch))


def unsettled(jobs: BatchTable, batch: Batch) -> Iterator[tuple[int, File | None]]:
    """Yield each number that is not known to have ended with its row, in order; None stands for no row."""
    known = batch.progress.open
    # The first alone: where it is still open, most callers read no further.
    for numbers in (known[:1], *(known[start : start + READ_CHUNK] for start in range(1, len(known), READ_CHUNK))):
        files = jobs.files_at(batch.id, numbers)
        yield from ((number, files.get(number)) for number in numbers)
    expected = batch.progress.upto
    rows = jobs.files(batch, start=expected) if expected < batch.declared else iter(())
    for file in takewhile(lambda file: file.number < batch.declared, rows):
        yield from ((number, None) for number in range(expected, file.number))
        yield file.number, file
        expected = file.number + 1
    yield from ((number, None) for number in range(expected, batch.declared))

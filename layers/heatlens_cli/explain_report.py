"""Report explained files: a table for people with a progress bar on a terminal, or a JSON object a line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from heatlens_cli.console import complain, out, say, shown
from heatlens_cli.file_explanation import FileExplanation
from heatlens_cli.progress import Bars

WIDE = 100  # columns of a terminal that shows the paths of heatmaps too
LONGEST_NAME = 60  # characters, in the column of files
FAILURES_SHOWN = 20  # of the summary
_STAGE = "explained"


class Report(Protocol):
    """Receives the result of each file, in the order of the files."""

    def running(self, images: Sequence[Path]) -> AbstractContextManager[object]:
        """Begin a run of files, and show its progress within the block."""

    def explained(self, image: Path, answer: FileExplanation, written: Sequence[Sequence[Path]]) -> None:
        """Report a file, and what was written of each of its heatmaps."""

    def failed(self, image: Path, reason: str) -> None:
        """Report a file that failed."""

    def summary(self, count: int) -> None:
        """End a run of `count` files."""


def options_shown(options: Mapping[str, object]) -> dict[str, str]:
    """Return the options that were given, as text."""
    given = {name: value for name, value in options.items() if value not in (None, (), [])}
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in given.items()
    }


def name_width(images: Sequence[Path]) -> int:
    """Return the width of a column of file names; a longer name moves its own line only."""
    return min(max((len(shown(image)) for image in images), default=0), LONGEST_NAME)


def sum_up(failures: Sequence[str], count: int) -> None:
    """Print the first failures again, below the lines of other files."""
    complain(f"{len(failures)} of {count} files failed:")
    for line in failures[:FAILURES_SHOWN]:
        complain(f"  {line}")
    if len(failures) > FAILURES_SHOWN:
        complain(f"  and {len(failures) - FAILURES_SHOWN} more, above")


class Reports:
    """Several reports of one run, in their order."""

    def __init__(self, *reports: Report) -> None:
        self._reports = reports

    @contextmanager
    def running(self, images: Sequence[Path]) -> Iterator[None]:
        with ExitStack() as stack:
            for report in self._reports:
                stack.enter_context(report.running(images))
            yield

    def explained(self, image: Path, answer: FileExplanation, written: Sequence[Sequence[Path]]) -> None:
        for report in self._reports:
            report.explained(image, answer, written)

    def failed(self, image: Path, reason: str) -> None:
        for report in self._reports:
            report.failed(image, reason)

    def summary(self, count: int) -> None:
        for report in self._reports:
            report.summary(count)


class Table:
    """A line for each heatmap; failures are reported at once, and once more at the end where lines came after them.

    On a narrow terminal the lines have no path; each heatmap lies where its image does, below the output folder.
    """

    def __init__(self, notice: str | None = None, folder: Path | None = None) -> None:
        self._notice = notice
        self._folder = folder
        self._has_paths = not out.is_terminal or out.width >= WIDE
        self._bars = Bars() if out.is_terminal else None
        self._failures: list[str] = []
        self._width = 0  # of the column of files
        self._is_buried = False  # a failure is above other lines

    def running(self, images: Sequence[Path]) -> AbstractContextManager[object]:
        self._width = name_width(images)
        paths = "  heatmap" if self._has_paths else ""
        say(f"{'file':<{self._width}} {'prediction':<12} {'probability':>11}  {'quality':<7}{paths}")
        if not self._bars:
            return nullcontext()
        self._bars.expect(_STAGE, len(images))
        return self._bars.live

    def explained(self, image: Path, answer: FileExplanation, written: Sequence[Sequence[Path]]) -> None:
        self._is_buried = self._is_buried or bool(self._failures)
        for heatmap, paths in zip(answer.heatmaps, written, strict=True):
            differs = heatmap.label != answer.label
            explains = f"  explains {heatmap.label} ({heatmap.probability:.4f})" if differs else ""
            files = f"  {' '.join(map(shown, paths))}" if self._has_paths else ""
            say(
                f"{shown(image):<{self._width}} {answer.label:<12} {answer.probability:>11.4f}  {heatmap.quality:<7}"
                f"{files}{explains}"
            )
        for line in (*(f"warning: {each}" for each in answer.warnings), *(f"note: {each}" for each in answer.notes)):
            say(f"  {line}")
        self._advance()

    def failed(self, image: Path, reason: str) -> None:
        self._failures.append(f"{shown(image)}: {reason}")
        if self._bars:  # a line of another stream would be drawn into the bar
            self._bars.live.stop()
        complain(self._failures[-1])
        if self._bars:
            self._bars.live.start()
        self._advance()

    def summary(self, count: int) -> None:
        if self._folder and not self._has_paths:
            say(f"heatmaps: {shown(self._folder)}")
        if self._notice:
            say(f"notice: {self._notice}")
        if self._is_buried:
            sum_up(self._failures, count)

    def _advance(self) -> None:
        if self._bars:
            self._bars.advance(_STAGE)


class JsonLines:
    """An object for each file on standard output; of a file that failed it has `error`."""

    def running(self, images: Sequence[Path]) -> AbstractContextManager[object]:
        del images
        return nullcontext()

    def explained(self, image: Path, answer: FileExplanation, written: Sequence[Sequence[Path]]) -> None:
        files = [str(path) for paths in written for path in paths]
        quality = answer.heatmaps[0].quality
        self._write(
            {"file": str(image), "files": files, "quality": quality, "warnings": list(answer.warnings), **answer.facts}
        )

    def failed(self, image: Path, reason: str) -> None:
        complain(f"{shown(image)}: {reason}")
        self._write({"file": str(image), "error": reason})

    def summary(self, count: int) -> None:
        del count

    def _write(self, facts: dict[str, object]) -> None:
        say(json.dumps(facts))  # ASCII, so that no character is one that a terminal obeys

"""Explain image files, in groups, write their heatmaps, and report each in the order of the files."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from heatlens.errors import HeatlensError
from heatlens.types import Upload
from heatlens_cli.atomic_file import identity_of, write_atomically
from heatlens_cli.console import complain, shown
from heatlens_cli.explain_report import Report, Table
from heatlens_cli.file_explanation import PICTURE, ClassHeatmap, FileExplanation
from heatlens_cli.heatmap_names import heatmap_name
from heatlens_cli.image_arguments import ImageFile, find_images
from heatlens_cli.in_groups import run_in_groups


class WouldOverwrite(HeatlensError):
    """A heatmap would overwrite an existing file."""


class NotWritten(HeatlensError):
    """A heatmap cannot be written."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where heatmaps are written: the folder, the suffixes of each target's files, whether existing ones are replaced.

    With `several` the name of a heatmap also has its class.
    """

    folder: Path
    suffixes: tuple[str, ...] = (PICTURE,)
    several: bool = False
    force: bool = False

    def target(self, place: Path, suffix: str, heatmap: ClassHeatmap | None = None) -> Path:
        """Return the path of a file, given its image's place below the folder."""
        if heatmap is None or not self.several:
            return self.folder / heatmap_name(place, suffix)
        return self.folder / heatmap_name(place, suffix, indices=heatmap.indices, label=heatmap.label)


Explain = Callable[[Sequence[Upload]], Sequence[FileExplanation | HeatlensError]]


def one_by_one(explain: Callable[[str, bytes], FileExplanation]) -> Explain:
    """Make a function of images of one that explains an image, given its file name and bytes, or raises."""

    def attempt(upload: Upload) -> FileExplanation | HeatlensError:
        try:
            return explain(upload.filename, upload.data)
        except HeatlensError as error:
            return error

    return lambda uploads: [attempt(upload) for upload in uploads]


def explain_files(
    arguments: Sequence[Path],
    explain: Explain,
    output: Output,
    *,
    max_bytes: int,
    together: int = 1,
    report: Report | None = None,
) -> int:
    """Explain files; one that fails is reported and the others continue.

    Args:
        arguments: Files, folders, patterns, and `-` for standard input.
        explain: Explains images; one that it cannot explain is its `HeatlensError`.
        output: Where the heatmaps are written; its folder is created if missing.
        max_bytes: Largest file.
        together: The most images that are explained together.
        report: Receives the result of each file; a table by default.

    Returns:
        The exit status: 0, or 1 if a file failed or none was found.
    """
    try:
        output.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        complain(f"{output.folder}: {error.strerror}")
        return 1
    found = find_images(arguments, output.folder)
    for path in found.repeated:
        complain(f"{shown(path)}: named twice, explained once")
    for reason in found.missing:
        complain(reason)
    if not found.images:
        return 1
    report = report or Table()
    sources = {identity for image in found.images if (identity := identity_of(image.path))}
    run = _Run(explain, output, max_bytes, report, sources)
    with report.running([image.path for image in found.images]):
        outcomes = run_in_groups(found.images, run.read, run.explain, images=together)
        done = [run.finish(image, outcome) for image, outcome in outcomes]
    report.summary(len(found.images))
    return int(not all(done) or bool(found.missing))


@dataclass(frozen=True, slots=True)
class _Run:
    """What all files of a run share; `kept` are the images and the heatmaps of this run, which are not overwritten."""

    explain: Explain
    output: Output
    max_bytes: int
    report: Report
    kept: set[tuple[int, int]]

    def read(self, image: ImageFile) -> Upload:
        """Read an image, unless its heatmap would overwrite a file."""
        if not self.output.several:  # else the names depend on the classes
            self._check_free(image.place)
        return Upload(image.place.name, image.read(self.max_bytes))

    def finish(self, image: ImageFile, outcome: FileExplanation | HeatlensError | OSError) -> bool:
        """Write the files of an explained image and report it; return whether it was explained."""
        try:
            if isinstance(outcome, Exception):
                raise outcome
            written = self._write_all(image, outcome)
        except (HeatlensError, OSError) as error:
            self.report.failed(image.path, str(error.strerror or error if isinstance(error, OSError) else error))
            return False
        self.report.explained(image.path, outcome, written)
        return True

    def _write_all(self, image: ImageFile, answer: FileExplanation) -> list[list[Path]]:
        for heatmap in answer.heatmaps:
            self._check_free(image.place, heatmap)
        return [
            [
                self._write(self.output.target(image.place, suffix, heatmap), content)
                for suffix, content in heatmap.files.items()
            ]
            for heatmap in answer.heatmaps
        ]

    def _check_free(self, place: Path, heatmap: ClassHeatmap | None = None) -> None:
        for suffix in self.output.suffixes:
            target = self.output.target(place, suffix, heatmap)
            if not os.path.lexists(target):
                continue
            if identity_of(target) in self.kept:
                raise WouldOverwrite(
                    f"{shown(target)} is a file of this run, which is not overwritten: choose another --out"
                )
            if not self.output.force:
                raise WouldOverwrite(f"{shown(target)} exists: choose another --out, or --force to overwrite it")

    def _write(self, target: Path, content: bytes) -> Path:
        try:
            with write_atomically(target, overwrite=self.output.force) as file:
                file.write(content)
        except FileExistsError as error:  # made since it was checked
            raise WouldOverwrite(f"{shown(target)} exists: choose another --out") from error
        except OSError as error:
            raise NotWritten(f"{shown(target)} cannot be written: {error.strerror}") from error
        if identity := identity_of(target):
            self.kept.add(identity)
        return target

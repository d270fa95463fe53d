"""Explain image files one after the other, write their heatmaps and print a line for each."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heatlens.errors import HeatlensError
from heatlens.types import SUFFIXES, Quality
from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.console import complain, say, shown
from heatlens_cli.heatmap_names import below_common_folder, heatmap_name, unique_images
from heatlens_cli.read_file import read_file


class WouldOverwrite(HeatlensError):
    """A heatmap would overwrite an existing file."""


class NotWritten(HeatlensError):
    """A heatmap cannot be written."""


@dataclass(frozen=True, slots=True)
class ClassHeatmap:
    """One explained target: its label, the indices of its classes, its probability and the encoded overlay."""

    label: str
    indices: tuple[int, ...]
    probability: float
    picture: bytes


@dataclass(frozen=True, slots=True)
class FileExplanation:
    """The predicted class of one image, its probability, a heatmap for each explained class, and what to know of them.

    The notes say what was assumed to read the file, the warnings why class or map may mean nothing.
    """

    label: str
    probability: float
    heatmaps: tuple[ClassHeatmap, ...]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Where heatmaps are written: the folder, the file name suffix, and whether existing files are overwritten.

    With `several` the name of a heatmap also has its class.
    """

    folder: Path
    suffix: str = SUFFIXES["png"]
    several: bool = False
    force: bool = False

    def target(self, image: Path, heatmap: ClassHeatmap | None = None) -> Path:
        """Return the path of a heatmap, given its image's path below the folder."""
        if heatmap is None or not self.several:
            return self.folder / heatmap_name(image, self.suffix)
        return self.folder / heatmap_name(image, self.suffix, indices=heatmap.indices, label=heatmap.label)


Explain = Callable[[str, bytes], FileExplanation]
MAPS: dict[Quality, str] = {
    "weak": "weak map, with little evidence for the class",
    "empty": "empty map, with no evidence for the class",
}


def explain_files(images: list[Path], explain: Explain, output: Output, *, max_bytes: int) -> int:
    """Explain files one after the other; a file that fails is reported and the others continue.

    Args:
        images: Files to read.
        explain: Explains one image, given its file name and bytes; raises `HeatlensError` if it cannot.
        output: Where the heatmaps are written; its folder is created if missing.
        max_bytes: Largest file.

    Returns:
        The exit status: 0, or 1 if a file failed.
    """
    try:
        output.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        complain(f"{output.folder}: {error.strerror}")
        return 1
    images, repeated = unique_images(images)
    for image in repeated:
        complain(f"{shown(image)}: named twice, explained once")
    say(f"{'file':<34} {'class':<12} {'probability':>11} {'ms':>7}  heatmap")
    run = _Run(explain, output, max_bytes, {identity for image in images if (identity := _identity(image))})
    failed = 0
    for image, place in zip(images, below_common_folder(images), strict=True):
        try:
            rows = run.explain_file(image, place)
        except (HeatlensError, OSError) as error:
            failed += 1
            complain(f"{shown(image)}: {error.strerror or error if isinstance(error, OSError) else error}")
        else:
            for row in rows:
                say(row)
    return int(failed > 0)


@dataclass(frozen=True, slots=True)
class _Run:
    """What all files of a run share; `kept` are the images and the heatmaps of this run, which are not overwritten."""

    explain: Explain
    output: Output
    max_bytes: int
    kept: set[tuple[int, int]]

    def explain_file(self, image: Path, place: Path) -> list[str]:
        """Explain one file and write its heatmaps; return the rows to print."""
        if not self.output.several:  # else the names depend on the classes
            self._check_free(self.output.target(place))
        data = read_file(image, self.max_bytes)
        start = time.perf_counter()
        answer = self.explain(image.name, data)
        elapsed_ms = (time.perf_counter() - start) * 1000
        targets = [self.output.target(place, heatmap) for heatmap in answer.heatmaps]
        for target in targets:
            self._check_free(target)
        for target, heatmap in zip(targets, answer.heatmaps, strict=True):
            self._write(target, heatmap.picture)
        return (
            [
                f"{shown(image.name):<34} {answer.label:<12} {answer.probability:>11.4f} {elapsed_ms:>7.1f}  "
                f"{shown(target)}{_explained(heatmap, answer)}"
                for target, heatmap in zip(targets, answer.heatmaps, strict=True)
            ]
            + [f"  warning: {each}" for each in answer.warnings]
            + [f"  note: {note}" for note in answer.notes]
        )

    def _check_free(self, target: Path) -> None:
        if not os.path.lexists(target):
            return
        if _identity(target) in self.kept:
            raise WouldOverwrite(
                f"{shown(target)} is a file of this run, which is not overwritten: choose another --out"
            )
        if not self.output.force:
            raise WouldOverwrite(f"{shown(target)} exists: choose another --out, or --force to overwrite it")

    def _write(self, target: Path, picture: bytes) -> None:
        try:
            with write_atomically(target, overwrite=self.output.force) as file:
                file.write(picture)
        except FileExistsError as error:  # made since it was checked
            raise WouldOverwrite(f"{shown(target)} exists: choose another --out") from error
        except OSError as error:
            raise NotWritten(f"{shown(target)} cannot be written: {error.strerror}") from error
        if identity := _identity(target):
            self.kept.add(identity)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what two names of one file share, or None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def warnings_of(qualities: Mapping[str, Quality], *, unfamiliar: bool) -> list[str]:
    """Say why the class of an image or its maps may mean nothing.

    Args:
        qualities: Of the map of each explained class, by its label.
        unfamiliar: Whether the model was calibrated on other images.
    """
    unlike = ["unfamiliar: unlike the images that the model was calibrated on; rely on neither class nor heatmap"]
    maps = [f"{label}: {MAPS[own]}" for label, own in qualities.items() if own in MAPS]
    return [*unlike, *maps] if unfamiliar else maps


def _explained(heatmap: ClassHeatmap, answer: FileExplanation) -> str:
    """Name the explained class where it is not the predicted one."""
    if heatmap.label == answer.label:
        return ""
    return f"  explains {heatmap.label} ({heatmap.probability:.4f})"

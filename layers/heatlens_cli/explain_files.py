"""Explain image files one after the other, write their heatmaps and print a line for each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from heatlens.errors import HeatlensError
from heatlens.types import SUFFIXES
from heatlens_cli.console import err, out


class WouldOverwrite(HeatlensError):
    """A heatmap would overwrite an image of the same run."""


@dataclass(frozen=True, slots=True)
class FileExplanation:
    """The explained class, its probability, the encoded overlay, and what was assumed to read the file."""

    label: str
    probability: float
    picture: bytes
    notes: Sequence[str] = ()


def explain_files(
    images: list[Path], folder: Path, explain: Callable[[str, bytes], FileExplanation], *, suffix: str = SUFFIXES["png"]
) -> int:
    """Explain files one after the other; a file that fails is reported and the others continue.

    Args:
        images: Files to read.
        folder: Folder for the heatmaps; created if missing.
        explain: Explains one image, given its file name and bytes; raises `HeatlensError` if it cannot.
        suffix: File name suffix of the heatmaps.

    Returns:
        The exit status: 0, or 1 if a file failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        err.print(escape(f"{folder}: {error.strerror}"))
        return 1
    out.print(f"{'file':<34} {'class':<12} {'probability':>11} {'ms':>7}  heatmap")
    sources = {image.resolve() for image in images}
    failed = 0
    for image, target in zip(images, _distinct(images, folder, suffix), strict=True):
        try:
            _explain_file(image, target, sources, explain)
        except OSError as error:
            failed += 1
            err.print(escape(f"{error.filename or image}: {error.strerror or error}"))
        except HeatlensError as error:
            failed += 1
            err.print(escape(f"{image}: {error}"))
    return int(failed > 0)


def _explain_file(
    image: Path, target: Path, sources: set[Path], explain: Callable[[str, bytes], FileExplanation]
) -> None:
    if target.resolve() in sources:
        raise WouldOverwrite(f"its heatmap would overwrite {target}, an image of this run: choose another --out")
    data = image.read_bytes()
    start = time.perf_counter()
    answer = explain(image.name, data)
    elapsed_ms = (time.perf_counter() - start) * 1000
    target.write_bytes(answer.picture)
    row = f"{image.name:<34} {answer.label:<12} {answer.probability:>11.4f} {elapsed_ms:>7.1f}  {target}"
    out.print(escape(row))
    for note in answer.notes:
        out.print(escape(f"  note: {note}"))


def _distinct(images: list[Path], folder: Path, suffix: str) -> list[Path]:
    """Name one target per image, so that `a.jpg` and `a.png` do not overwrite each other."""
    names: list[str] = []
    for image in images:
        name, count = f"{image.stem}{suffix}", 1
        while name in names:
            count += 1
            name = f"{image.stem}-{count}{suffix}"
        names.append(name)
    return [folder / name for name in names]

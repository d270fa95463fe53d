"""Image files -> heatmap files, however they are explained, and one printed line for each."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from heatlens.errors import HeatlensError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a line shows and a file holds."""

    label: str
    probability: float
    png: bytes


def explain_each(images: list[Path], folder: Path, explain: Callable[[str, bytes], Answer]) -> int:
    """Explain files one after the other; one that fails is reported and the rest go on.

    Args:
        images: Files to read.
        folder: Where the PNGs go; made if missing.
        explain: File name and bytes to an answer, or a `HeatlensError` whose message says why not.

    Returns:
        The exit status: 0, or 1 if any failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out.print(f"{'file':<34} {'class':<12} {'probability':>11} {'ms':>7}  heatmap")
    targets = _distinct(images, folder)
    failed = sum(not _explain_file(*each, explain) for each in zip(images, targets, strict=True))
    return int(failed > 0)


def _explain_file(image: Path, target: Path, explain: Callable[[str, bytes], Answer]) -> bool:
    try:
        data = image.read_bytes()
        start = time.perf_counter()
        answer = explain(image.name, data)
        elapsed_ms = (time.perf_counter() - start) * 1000
    except OSError as error:
        err.print(escape(f"{image}: {error.strerror or 'cannot be read'}"))
        return False
    except HeatlensError as error:
        err.print(escape(f"{image}: {error}"))
        return False
    target.write_bytes(answer.png)
    row = f"{image.name:<34} {answer.label:<12} {answer.probability:>11.4f} {elapsed_ms:>7.1f}  {target}"
    out.print(escape(row))
    return True


def _distinct(images: list[Path], folder: Path) -> list[Path]:
    """One target per image: `a.jpg` and `a.png` do not overwrite each other."""
    names: list[str] = []
    for image in images:
        name, count = f"{image.stem}.png", 1
        while name in names:
            count += 1
            name = f"{image.stem}-{count}.png"
        names.append(name)
    return [folder / name for name in names]

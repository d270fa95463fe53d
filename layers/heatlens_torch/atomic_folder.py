"""Replace a model folder as a whole, or leave it as it was."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heatlens.card import CARD_FILE
from heatlens.errors import ModelFileError


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Give a fresh folder beside `out` that takes its place when the block ends without an error.

    Raises:
        ModelFileError: `out` exists and is not a model folder, or has files that are not the model's.
    """
    out = out.absolute()
    if out.exists():
        _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()  # a folder inside: the scratch folder itself is readable by its owner only
        yield fresh
        _swap(fresh, out, aside=Path(scratch) / "old")


def _check_replaceable(out: Path) -> None:
    if not out.is_dir() or (any(out.iterdir()) and not (out / CARD_FILE).is_file()):
        raise ModelFileError(f"{out.name!r} exists and is not a model folder: choose another, or remove it yourself")
    if others := _other_files(out):
        raise ModelFileError(
            f"{out.name!r} has files that are not the model's ({', '.join(others[:3])}): choose another, or move them"
        )


def _other_files(out: Path) -> list[str]:
    """List what the card does not name: replacing the folder would remove it."""
    card = out / CARD_FILE
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    return sorted(path.name for path in out.iterdir() if path != card and f'"{path.name}"' not in text)


def _swap(fresh: Path, out: Path, *, aside: Path) -> None:
    if not out.exists():
        fresh.rename(out)
        return
    out.rename(aside)
    try:
        fresh.rename(out)
    except OSError:
        aside.rename(out)
        raise

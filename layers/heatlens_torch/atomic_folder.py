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
        ModelFileError: `out` exists and is not a model folder.
    """
    out = out.absolute()
    if out.exists() and not _replaceable(out):
        raise ModelFileError(f"{out.name!r} exists and is not a model folder: choose another, or remove it yourself")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()  # a folder inside: the scratch folder itself is readable by its owner only
        yield fresh
        _swap(fresh, out, aside=Path(scratch) / "old")


def _replaceable(out: Path) -> bool:
    return out.is_dir() and ((out / CARD_FILE).is_file() or not any(out.iterdir()))


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

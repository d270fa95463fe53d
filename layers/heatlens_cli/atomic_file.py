"""Write files atomically, and compute their digests."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from heatlens_cli.sources import CHUNK


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Write a temporary file beside the path, and move it there once all of it is on the disk.

    The temporary file has the same name each time, so that one left by a killed process is overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # the path's own name may have the maximum length
    fresh = path.with_name(f".{name}.new")
    try:
        with fresh.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str | None:
    """Compute the SHA-256 digest (hex) of a file; None if the file does not exist."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return digest.hexdigest()

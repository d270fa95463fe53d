"""Write files atomically, and compute their digests."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from heatlens_cli.sources import CHUNK


@contextmanager
def write_atomically(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Write a temporary file beside the path, and move it there once all of it is on the disk.

    The temporary file has a random name, so that two processes can write the same path at once.

    Args:
        path: The file to write; its folder is created if missing.
        overwrite: Whether an existing file is replaced.

    Raises:
        FileExistsError: The path exists and is not to be overwritten; it is unchanged.
        OSError: The file cannot be written; the path is unchanged, and the error names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{secrets.token_hex(8)}.new")  # the path's own name may have the maximum length
    try:
        with fresh.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _publish(fresh, path, overwrite=overwrite)
    except OSError as error:
        if error.filename is None:  # of a full disk; a missing name would mean standard output
            error.filename = str(path)
        raise
    finally:
        fresh.unlink(missing_ok=True)


def _publish(fresh: Path, path: Path, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(fresh, path)  # fails if the path exists, which renaming does not
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            path.open("xb").close()
        else:
            return
    fresh.replace(path)


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what two names of one file share, or None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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

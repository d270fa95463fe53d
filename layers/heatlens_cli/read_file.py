"""Read an image file within the limit of bytes per file."""

import os
from pathlib import Path
from typing import BinaryIO

from heatlens.errors import FileTooLarge


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a file, and never more than one byte over the limit.

    Raises:
        FileTooLarge: The file has more bytes than the limit.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        # The size spares reading a large file; a pipe has none, and a file may grow.
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise _too_large(max_bytes)
        data = read_limited(file, max_bytes)
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise _too_large(max_bytes)
    return data


def read_limited(file: BinaryIO, max_bytes: int) -> bytes:
    """Read an open file to its end.

    Raises:
        FileTooLarge: It has more bytes than the limit.
    """
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _too_large(max_bytes: int) -> FileTooLarge:
    return FileTooLarge(f"the file is over the limit of {max_bytes:,} bytes (HEATLENS_FILE_BYTES)")

"""Read an image file within the limit of bytes per file."""

import os
from pathlib import Path

from heatlens.errors import FileTooLarge


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a file, and never more than one byte over the limit.

    Raises:
        FileTooLarge: The file has more bytes than the limit.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        # The size spares reading a large file; a pipe has none, and a file may grow.
        data = b"" if os.fstat(file.fileno()).st_size > max_bytes else file.read(max_bytes + 1)
        if len(data) > max_bytes or os.fstat(file.fileno()).st_size > max_bytes:
            raise FileTooLarge(f"the file is over the limit of {max_bytes:,} bytes (HEATLENS_FILE_BYTES)")
    return data

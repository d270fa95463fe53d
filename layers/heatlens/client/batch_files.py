"""The files of a staged batch: their names, digests and bytes."""

import hashlib
import io
import mimetypes
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from heatlens.client.errors import ClientError

CHUNK = 1024 * 1024  # bytes of a file in memory at a time
NAME_BYTES = 255  # of UTF-8, that a server keeps
_DICOM = {".dcm": "application/dicom", ".dicom": "application/dicom"}

FileSource = bytes | str | os.PathLike[str]
Files = Iterable[str | os.PathLike[str]] | Mapping[str, FileSource]


class FileChanged(ClientError):
    """A file was written since it was declared; its last bytes were withheld, so that nothing was stored."""

    def __init__(self) -> None:
        super().__init__("it was written since it was declared: send it again")
        self.code = "source.changed"


@dataclass(frozen=True, slots=True)
class BatchFile:
    """One file as it is declared."""

    name: str
    source: FileSource
    size: int
    sha256: str

    def declaration(self) -> dict[str, Any]:
        """Return the declaration of the file."""
        return declaration(self.name, self.size, self.sha256)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the file; the last ones only if it has not changed.

        Raises:
            FileChanged: The file has changed.
            OSError: It cannot be read.
        """
        return unchanged(_chunks(self.source), self.size, self.sha256)


def named_files(files: Files) -> dict[str, FileSource]:
    """Return the files by their names, which are unique in a batch.

    Raises:
        ValueError: Two files have the same name, or a name is not a path below a folder.
    """
    if isinstance(files, Mapping):
        named = dict(files)
    else:
        named = {}
        for path in files:
            name = Path(path).name
            if name in named:
                raise ValueError(f"two files are named {name!r}: give a mapping of names to paths")
            named[name] = path
    for name in named:
        check_name(name)
    return named


def check_name(name: str) -> None:
    """Check that a name is a path below a folder, on every system.

    Raises:
        ValueError: It is not.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = ".." in (*posix.parts, *windows.parts) or windows.drive or windows.root
    if leaves or str(posix) != name or name == "." or "\0" in name:
        raise ValueError(f"{name!r} is not a path below a folder")


def read_file(name: str, source: FileSource) -> BatchFile:
    """Read a file to the end for its size and digest.

    Raises:
        OSError: It cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(source):
        digest.update(chunk)
        size += len(chunk)
    return BatchFile(name, source, size, digest.hexdigest())


def declaration(name: str, size: int, sha256: str) -> dict[str, Any]:
    """Return the declaration of a file; of a long name it keeps the end."""
    short = name.encode()[-NAME_BYTES:].decode(errors="ignore")
    return {"name": short, "size": size, "sha256": sha256, "media_type": media_type(name)}


def media_type(name: str) -> str:
    """Guess the type of a file; the server decides it from the bytes."""
    suffix = Path(name).suffix.lower()
    guessed = _DICOM.get(suffix) or mimetypes.guess_type(f"file{suffix}")[0] or ""
    return guessed if guessed.startswith(("image/", "application/dicom")) else "image/unknown"


def unchanged(chunks: Iterable[bytes], size: int, sha256: str) -> Iterator[bytes]:
    """Yield the chunks of a file, the last one only if size and digest are as expected.

    Raises:
        FileChanged: They are not.
    """
    digest, read, held = hashlib.sha256(), 0, b""
    for chunk in chunks:
        digest.update(chunk)
        read += len(chunk)
        if read > size:
            break
        if held:
            yield held
        held = chunk
    if read != size or digest.hexdigest() != sha256:
        raise FileChanged
    yield held


def _chunks(source: FileSource) -> Iterator[bytes]:
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk

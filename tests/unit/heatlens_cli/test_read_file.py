"""A file over the limit is refused without being read."""

import os
import threading
from pathlib import Path

import pytest

from heatlens.errors import FileTooLarge
from heatlens_cli.read_file import read_file


def test_a_file_at_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")

    assert read_file(path, 5) == b"12345"
    with pytest.raises(FileTooLarge, match=r"over the limit of 4 bytes \(HEATLENS_FILE_BYTES\)"):
        read_file(path, 4)


def test_a_large_file_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, 3 * 2**30)
    opened = Path.open

    class Unreadable:
        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> "Unreadable":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()  # type: ignore[attr-defined]

        def fileno(self) -> int:
            return int(self.file.fileno())  # type: ignore[attr-defined]

        def read(self, size: int) -> bytes:
            raise AssertionError(f"{size} bytes of a file over the limit are read")

    monkeypatch.setattr(Path, "open", lambda self, mode: Unreadable(opened(self, mode)))

    with pytest.raises(FileTooLarge):
        read_file(path, 100)


def test_a_pipe_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(b"x" * 100))
    writer.start()

    with pytest.raises(FileTooLarge):
        read_file(path, 99)

    writer.join(timeout=30)
    assert not writer.is_alive()

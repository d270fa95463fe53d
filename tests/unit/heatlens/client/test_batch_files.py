"""Names, digests and bytes of the files of a staged batch."""

import hashlib
from pathlib import Path

import pytest

from heatlens.client.batch_files import (
    FileChanged,
    check_name,
    declaration,
    media_type,
    named_files,
    read_file,
    unchanged,
)
from heatlens_cli.sources import MEDIA_TYPES
from heatlens_web.schemas.batches import NAME_BYTES, FileDeclaration


def test_files_are_named_as_they_are_or_by_the_mapping() -> None:
    assert named_files(["a/1.png", Path("b/2.png")]) == {"1.png": "a/1.png", "2.png": Path("b/2.png")}
    assert named_files({"ward/1.png": b"x"}) == {"ward/1.png": b"x"}
    with pytest.raises(ValueError, match=r"two files are named '1\.png': give a mapping"):
        named_files(["a/1.png", "b/1.png"])


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "", ".", "a//b", "a/", "C:\\a", "..\\a", "a\0"])
def test_a_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a path below a folder"):
        check_name(name)


@pytest.mark.parametrize("source", ["bytes", "path"])
def test_a_file_is_declared_as_the_server_takes_it(source: str, tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(b"image")
    file = read_file("1.png", path if source == "path" else b"image")
    declared = FileDeclaration.model_validate(file.declaration())

    assert (declared.size, declared.sha256) == (5, hashlib.sha256(b"image").hexdigest())
    assert b"".join(file.chunks()) == b"image"


def test_a_long_name_keeps_its_end() -> None:
    declared = FileDeclaration.model_validate(declaration("ü" * 200 + ".png", 1, "0" * 64))

    assert declared.name.endswith("ü.png")
    assert len(declared.name.encode()) <= NAME_BYTES


@pytest.mark.parametrize(("suffix", "expected"), MEDIA_TYPES.items())
def test_types_are_those_of_the_command_line(suffix: str, expected: str) -> None:
    assert media_type(f"a{suffix.upper()}") == expected


def test_a_file_of_an_unknown_type_may_be_sent() -> None:
    for name in ("a", "a.txt", "a.svgz.exe"):
        assert FileDeclaration.model_validate(declaration(name, 1, "0" * 64)).media_type == "image/unknown"


@pytest.mark.parametrize("now", [b"other", b"imag", b"image!", b""])
def test_the_last_bytes_of_a_changed_file_are_withheld(now: bytes, tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(b"image")
    file = read_file("1.png", path)
    path.write_bytes(now)
    sent: list[bytes] = []

    with pytest.raises(FileChanged) as caught:
        sent.extend(file.chunks())
    assert len(b"".join(sent)) < 5
    assert caught.value.code == "source.changed"


def test_an_unchanged_file_is_sent_whole() -> None:
    assert list(unchanged([b"a", b"b"], 2, hashlib.sha256(b"ab").hexdigest())) == [b"a", b"b"]

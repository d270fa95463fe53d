import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from heatlens.errors import UnreadableImage
from heatlens.input.decode import decode
from heatlens.input.tiff import check_parts
from tests.support.images import encoded, noise
from tests.support.paths import ROOT
from tests.unit.heatlens.input.test_decode import deep_tiff

MANY = 1_000_000


def tiled(tiles: int, *, order: str = "<", big: bool = False) -> bytes:
    """Write a TIFF of `tiles` tiles of one pixel in a row, all at one place."""
    word, head = ("Q", 16) if big else ("I", 8)
    offsets = struct.pack(f"{order}{tiles}{word}", *[head] * tiles)
    sizes = struct.pack(f"{order}{tiles}{word}", *[1] * tiles)
    at = head + 8
    where = {324: at, 325: at + len(offsets)}
    tags = {256: tiles, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 322: 1, 323: 1}
    kind = 16 if big else 4
    entries = {tag: struct.pack(f"{order}2H2{word}", tag, kind, 1, value) for tag, value in tags.items()}
    entries |= {tag: struct.pack(f"{order}2H2{word}", tag, kind, tiles, value) for tag, value in where.items()}
    directory = struct.pack(f"{order}{'Q' if big else 'H'}", len(entries))
    directory += b"".join(entries[tag] for tag in sorted(entries)) + bytes(8)
    start = where[325] + len(sizes)
    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    return (
        mark
        + (struct.pack(f"{order}2HQ", 8, 0, start) if big else struct.pack(f"{order}I", start))
        + (b"\x07" + bytes(7) + offsets + sizes + directory)
    )


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True), (">", True)])
def test_the_number_of_tiles_is_limited(order: str, *, big: bool) -> None:
    if (order, big) != (">", True):  # which Pillow does not read
        assert np.asarray(decode(tiled(3, order=order, big=big), max_pixels=MANY).image).tolist() == [[7, 7, 7]]
    check_parts(tiled(100_000, order=order, big=big))
    with pytest.raises(UnreadableImage, match="more than 100,000 strips or tiles"):
        decode(tiled(100_001, order=order, big=big), max_pixels=MANY)


def test_a_truncated_directory_is_left_to_the_decoder() -> None:
    data = deep_tiff(np.zeros((2, 2), "<u2"), 1)

    for stop in range(4, len(data)):
        check_parts(data[:stop])


def fax(rows: int) -> bytes:
    """Write a damaged fax: libtiff reports each of its rows."""
    data = encoded(Image.new("1", (1, rows), 1), "TIFF", compression="group3")
    with Image.open(io.BytesIO(data)) as whole:
        assert isinstance(whole, TiffImagePlugin.TiffImageFile)
        [start], [size] = whole.tag_v2[273], whole.tag_v2[279]
    return data[:start] + random.Random(0).randbytes(size) + data[start + size :]


def test_a_damaged_fax_writes_nothing_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "good.tif").write_bytes(encoded(noise((64, 64), "L").convert("1"), "TIFF", compression="group3"))
    (tmp_path / "bad.tif").write_bytes(fax(20_000))
    program = """
import sys
from PIL import Image, TiffImagePlugin
if sys.argv[1] == "ours":
    import heatlens.input.decode
for path in sys.argv[2:]:
    try:
        Image.open(path).load()
    except OSError:
        pass
"""
    written = {}
    for who in ("ours", "theirs"):
        command = [sys.executable, "-c", program, who, str(tmp_path / "good.tif"), str(tmp_path / "bad.tif")]
        written[who] = len(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stderr)

    assert written["ours"] == 0
    assert written["theirs"] > 100_000  # the file does make libtiff write, where nothing stops it


def test_tiles_far_larger_than_the_image_are_refused() -> None:
    fields = [
        (256, 8),
        (257, 8),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, 32768),
        (323, 32768),
        (324, 8),
        (325, 8),
    ]
    entries = b"".join(struct.pack("<2H2L", tag, 4, 1, value) for tag, value in fields)
    data = b"II*\0" + struct.pack("<L", 16) + bytes(8) + struct.pack("<H", len(fields)) + entries + bytes(4)

    with pytest.raises(UnreadableImage, match="tiles of 1,073,741,824 pixels, more than the image itself"):
        decode(data, max_pixels=MANY)


def test_the_warnings_of_a_damaged_file_are_not_written() -> None:
    program = """
import io, sys
from heatlens.input.decode import decode
from PIL import Image, TiffImagePlugin
tags = TiffImagePlugin.ImageFileDirectory_v2()
file = io.BytesIO()
Image.new("L", (8, 8)).save(file, "TIFF", tiffinfo={65000: "x" * 5000})
data = file.getvalue().replace((5001).to_bytes(4, "little"), (10**9).to_bytes(4, "little"))
decode(data, max_pixels=100)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)

    assert ended.stderr == b""

"""JPEG Lossless and 12-bit JPEG in DICOM, decoded in a process of their own, which damaged files may end."""

import random
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from heatlens.errors import InputError, UnsupportedImage
from heatlens.input.decode import decode
from heatlens.input.jpeg_process import DecoderFailed, decode_jpeg
from tests.support.dicom import CARRIED, Array, dataset, written
from tests.support.dicom_tools import tool

MANY = 10_000_000
RANDOM = np.random.default_rng(3)
GRAY = RANDOM.integers(0, 256, (40, 50)).astype("u1")
DEEP = RANDOM.integers(0, 65_536, (40, 50)).astype("<u2")
SIGNED = RANDOM.integers(-2000, 2000, (40, 50)).astype("<i2")
COLORS = RANDOM.integers(0, 256, (40, 50, 3)).astype("u1")
LOSSLESS = {"selection value 1": ["+e1"], "selection value 6": ["+el", "+sv", "6"]}


def compressed(made: Dataset, folder: Path, *options: str) -> bytes:
    """Compress a file by `dcmtk`."""
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(written(made))
    subprocess.run([tool("dcmcjpeg", "dcmtk"), *options, source, target], check=True, timeout=60)
    return target.read_bytes()


def shown(data: bytes) -> Array:
    return np.asarray(decode(data, max_pixels=MANY).image)


@pytest.mark.parametrize("predictor", LOSSLESS)
@pytest.mark.parametrize("pixels", [GRAY, DEEP, SIGNED, COLORS], ids=["8 bits", "16 bits", "signed", "colors"])
def test_a_lossless_jpeg_is_the_image_without_compression(pixels: Array, predictor: str, tmp_path: Path) -> None:
    made = dataset(pixels)

    data = compressed(made, tmp_path, *LOSSLESS[predictor])

    assert pydicom.dcmread(tmp_path / "target.dcm").file_meta.TransferSyntaxUID.is_encapsulated
    assert np.array_equal(shown(data), shown(written(made)))


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_a_jpeg_of_12_bits_is_drawn_as_dcmtk_decodes_it(name: str, tmp_path: Path) -> None:
    subprocess.run([tool("dcmdjpeg", "dcmtk"), CARRIED / name, tmp_path / "native.dcm"], check=True, timeout=60)

    assert np.array_equal(shown((CARRIED / name).read_bytes()), shown((tmp_path / "native.dcm").read_bytes()))


def test_damaged_streams_are_refused_and_end_no_process_but_their_own(tmp_path: Path) -> None:
    whole, chance, refused = compressed(dataset(DEEP, bits=16), tmp_path, "+e1"), random.Random(5), 0
    start = whole.index(b"\xff\xd8\xff")
    for number in range(40):
        data = bytearray(whole)
        if number % 2:
            data[chance.randrange(start, start + 100)] = chance.randrange(256)
        else:
            del data[chance.randrange(start, len(data) - 8) : -8]
        try:
            shown(bytes(data))
        except InputError:
            refused += 1

    assert refused > 20


def test_a_process_that_crashes_is_a_damaged_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.input.jpeg_process._PROGRAM", "import os; os.abort()")

    with pytest.raises(DecoderFailed):
        decode_jpeg(b"", syntax="1.2.840.10008.1.2.4.70", shape=(1, 1, 1), allocated=8, stored=8)


def test_a_process_that_is_killed_says_nothing_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr("heatlens.input.jpeg_process._PROGRAM", program)

    with pytest.raises(MemoryError):
        decode_jpeg(b"", syntax="1.2.840.10008.1.2.4.70", shape=(1, 1, 1), allocated=8, stored=8)


def test_a_process_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.input.jpeg_process._PROGRAM", "while True: pass")
    monkeypatch.setattr("heatlens.input.jpeg_process._DEADLINE_S", 0.2)

    with pytest.raises(DecoderFailed):
        decode_jpeg(b"", syntax="1.2.840.10008.1.2.4.70", shape=(1, 1, 1), allocated=8, stored=8)


def test_without_gdcm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens.input.jpeg_process._PROGRAM", "raise SystemExit(3)")

    with pytest.raises(UnsupportedImage, match=r"need the extra dicom: pip install 'heatlens\[dicom\]'"):
        shown((CARRIED / "SC_rgb_jpeg_gdcm.dcm").read_bytes())

"""Run Debian's DICOM tools on objects: without them a test is skipped with the reason."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.support.dicom import Array

_NEVER_ERRORS = ("Error", "Abort")


def parsed(data: bytes) -> Dataset:
    """Read an object as pydicom does."""
    return pydicom.dcmread(io.BytesIO(data))


def tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name}: apt-get install {package}")
    return path


def assert_valid(data: bytes, folder: Path) -> None:
    """Compare an object with its definition in the standard by `dciodvfy`."""
    file = folder / "object.dcm"
    file.write_bytes(data)
    _assert_without_errors("dciodvfy", file)


def assert_one_study(objects: list[bytes], folder: Path) -> None:
    """Compare patient, study, series and equipment across objects by `dcentvfy`."""
    files = [folder / f"{number}.dcm" for number in range(len(objects))]
    for file, data in zip(files, objects, strict=True):
        file.write_bytes(data)
    _assert_without_errors("dcentvfy", *files)


def _assert_without_errors(name: str, *files: Path) -> None:
    command = [tool(name, "dicom3tools"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=60)
    report = done.stdout + done.stderr
    assert not [line for line in report.splitlines() if line.startswith(_NEVER_ERRORS)], report


def rendered(data: bytes, folder: Path, *options: str) -> Array:
    """Render an image by `dcmtk`, as an archive's preview does."""
    file, picture = folder / "image.dcm", folder / "image.png"
    file.write_bytes(data)
    subprocess.run([tool("dcm2pnm", "dcmtk"), "+on", *options, file, picture], check=True, timeout=60)
    with Image.open(picture) as image:
        return np.asarray(image)

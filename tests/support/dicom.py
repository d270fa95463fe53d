"""Write DICOM files for tests; pydicom's own test files lie in `CARRIED`."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

CARRIED = Path(pydicom.__file__).parent / "data" / "test_files"
Array = np.ndarray[Any, Any]
_ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}


def dicom(
    pixels: Array, syntax: UID = ExplicitVRLittleEndian, *, monochrome: int = 2, bits: int = 0, **tags: object
) -> bytes:
    """Write a file of `[rows, columns]` gray or `[rows, columns, 3]` color pixels, with further tags by keyword."""
    return written(dataset(pixels, syntax, monochrome=monochrome, bits=bits, **tags))


def dataset(
    pixels: Array, syntax: UID = ExplicitVRLittleEndian, *, monochrome: int = 2, bits: int = 0, **tags: object
) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.SOPInstanceUID = "1.2.3"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    made.PhotometricInterpretation = f"MONOCHROME{monochrome}" if pixels.ndim == 2 else "RGB"
    if pixels.ndim > 2:
        made.PlanarConfiguration = 0
    made.BitsAllocated = pixels.itemsize * 8
    made.BitsStored = bits or pixels.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.add_new("PixelData", "OW" if pixels.itemsize > 1 else "OB", pixels.tobytes() + bytes(pixels.nbytes % 2))
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def written(made: Dataset) -> bytes:
    """Encode a data set as a file."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def with_text(data: bytes, **texts: str) -> bytes:
    """Replace the values of elements by these texts, whatever their VR allows."""
    made = pydicom.dcmread(io.BytesIO(data))
    for keyword, text in texts.items():
        made.add_new(keyword, "LT", text)
    data = written(made)
    for keyword in texts:
        tag = Tag(keyword)
        head = struct.pack("<2H", tag.group, tag.element)
        data = data.replace(head + b"LT", head + dictionary_VR(tag).encode())
    return data


def compress(made: Dataset, syntax: UID, **options: Any) -> None:  # noqa: ANN401 - those of pydicom
    """Compress the pixels with the same encoder on every machine; GDCM's, which pydicom prefers, crashes on some."""
    made.compress(syntax, encoding_plugin=_ENCODERS[syntax], **options)


def lookup_table(entries: Array, *, first: int, bits: int) -> Sequence:
    """Build a modality or VOI lookup table."""
    item = Dataset()
    count = len(entries) % 2**16  # the standard writes 65,536 entries as 0
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [count, first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return Sequence([item])


def sequence(**tags: object) -> Sequence:
    """Build a sequence of one item."""
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return Sequence([item])

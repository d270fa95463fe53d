"""Decode the samples of a DICOM data set's first frame, with one decoder per transfer syntax.

A frame's own header is compared with the data set's before anything is decoded: a stream may claim a larger size.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import openjpeg  # noqa: F401 - pydicom finds these two plugins itself, and would report a missing one only with the first frame
import pylibjpeg  # noqa: F401
from _CharLS import read_header
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.utils import pixel_array

from heatlens.errors import UnreadableImage, UnsupportedImage
from heatlens.input.dicom.parse import PIXEL_DATA
from heatlens.input.grey_levels import Samples
from heatlens.input.jpeg import check_scans

NO_PIXELS = "the DICOM file has no image in it: it is a report, a plan, or something else without pixels"
_NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_INSTEAD = "which is not supported: send it uncompressed, or as RLE, JPEG-LS, JPEG 2000 or 8-bit JPEG"
_END_OF_IMAGE = b"\xff\xd9"  # of all three kinds of JPEG
_LAST_BYTES = 16  # that contain it, whatever padding a writer appends
_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"  # and of its size segment
_SIZE_SEGMENT = struct.Struct(">8LH")
_MAX_TILES = 4096  # of 256 x 256 pixels: more than the largest image
_RLE_HEADER = struct.Struct("<16L")  # number of segments, and where each begins

Shape = tuple[int, int, int]  # rows, columns, samples per pixel


def _jpeg(frame: bytes) -> tuple[Shape, bytes]:
    check_scans(frame)
    with Image.open(BytesIO(frame), formats=["JPEG"]) as image:
        return (image.height, image.width, len(image.getbands())), frame


def _jpeg_ls(frame: bytes) -> tuple[Shape, bytes]:
    header = read_header(frame)
    return (header["height"], header["width"], header["components"]), frame


def _jpeg_2000(frame: bytes) -> tuple[Shape, bytes]:
    """Read the size (ISO 15444-1 A.5.1) here: the decoder allocates memory for all tiles when it reads the header."""
    stream = frame[frame.index(_START_OF_CODESTREAM) :]  # some writers put boxes before it
    right, bottom, left, top, across, down, first_left, first_top, samples = _SIZE_SEGMENT.unpack_from(stream, 8)
    tiles = -(-(right - first_left) // across) * -(-(bottom - first_top) // down)
    if tiles > _MAX_TILES:
        raise UnreadableImage(f"the DICOM image has more than {_MAX_TILES:,} tiles, which no picture needs")
    return (bottom - top, right - left, samples), stream


@dataclass(frozen=True, slots=True)
class _Codec:
    """pydicom's name of a decoder, and a function that reads a frame's shape and returns the bytes to decode."""

    plugin: str
    read_shape: Callable[[bytes], tuple[Shape, bytes]]


_CODECS = (
    dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit), _Codec("pillow", _jpeg))
    | dict.fromkeys(uid.JPEGLSTransferSyntaxes, _Codec("pyjpegls", _jpeg_ls))
    | dict.fromkeys(uid.JPEG2000TransferSyntaxes, _Codec("pylibjpeg", _jpeg_2000))
)


def first_frame(dataset: Dataset) -> Samples:
    """Decode the first frame; YBR becomes RGB.

    Returns:
        The stored values, `[rows, columns]`, or `[rows, columns, 3]` for colors.

    Raises:
        UnsupportedImage: A transfer syntax that is not supported.
        UnreadableImage: No pixels, or others than the data set describes.
        Exception: Any error of pydicom and its decoders.
    """
    if not any(tag in dataset for tag in PIXEL_DATA):
        raise UnreadableImage(NO_PIXELS)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in _NATIVE:
        _extract(dataset, syntax)
    plugin = _CODECS[syntax].plugin if syntax in _CODECS else ""
    samples: Samples = pixel_array(dataset, index=0, decoding_plugin=plugin)
    return samples


def _extract(dataset: Dataset, syntax: uid.UID) -> None:
    """Leave only the first frame in the data set: checked, and unpacked where it is RLE."""
    if syntax != uid.RLELossless and syntax not in _CODECS:
        raise UnsupportedImage(f"the DICOM image is compressed {_compression(syntax)}, {_INSTEAD}")
    if syntax == uid.JPEGExtended12Bit and dataset.BitsStored > 8:
        raise UnsupportedImage(f"the DICOM image is compressed as JPEG of 12 bits, {_INSTEAD}")
    if not dataset["PixelData"].is_undefined_length:
        raise UnreadableImage("the DICOM image is not compressed, though its header says so")
    offsets = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    frame = get_frame(
        dataset.PixelData,
        0,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=None if None in offsets else offsets,
    )
    shape = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    if syntax in _CODECS:
        # For a truncated frame Pillow raises, but JPEG 2000's decoder invents pixels and JPEG-LS's runs for 15 s.
        if _END_OF_IMAGE not in frame[-_LAST_BYTES:]:
            raise UnreadableImage("the DICOM image is truncated")
        own_shape, frame = _CODECS[syntax].read_shape(frame)
        if own_shape != shape:
            raise UnreadableImage("the DICOM image has another size than its header says")
        dataset.PixelData = encapsulate([frame])
    else:
        dataset.PixelData = _unpacked(frame, shape, int(dataset.BitsAllocated))
        dataset.PlanarConfiguration = 1
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.NumberOfFrames = 1
    for table in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(table, None)


def _compression(syntax: uid.UID) -> str:
    if syntax in _LOSSLESS:
        return "as JPEG Lossless"
    return f"as {syntax.name}" if syntax.is_transfer_syntax else "in a way that DICOM does not know"


def _unpacked(frame: bytes, shape: Shape, bits: int) -> bytes:
    """Unpack RLE (PS3.5 Annex G): by plane, a PackBits segment for each byte of a sample, most significant first.

    Pillow unpacks no more than the number of pixels, however large the segment would become.
    """
    rows, columns, samples = shape
    size, rest = divmod(bits, 8)
    count, *starts = _RLE_HEADER.unpack_from(frame)
    if rest or count != samples * size:
        raise UnreadableImage("the DICOM image has another number of RLE segments than its header says")
    starts = [*starts[:count], len(frame)]
    planes = np.empty((samples, rows * columns, size), np.uint8)
    for number in range(count):
        segment = frame[starts[number] : starts[number + 1]]
        plane, byte = divmod(number, size)
        unpacked = Image.frombytes("L", (rows * columns, 1), segment, "packbits", "L")
        planes[plane, :, size - 1 - byte] = np.asarray(unpacked)[0]
    return planes.tobytes()

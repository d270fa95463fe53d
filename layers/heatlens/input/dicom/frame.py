"""Decode the samples of one frame of a DICOM data set, with one decoder per transfer syntax.

A frame's own header is compared with the data set's before anything is decoded: a stream may claim a larger size.
"""

import struct
import zlib
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
from pydicom.pixels.utils import get_expected_length, pixel_array

from heatlens.errors import UnreadableImage, UnsupportedImage
from heatlens.input.dicom.numbers import Notes, add_note
from heatlens.input.dicom.parse import PIXEL_DATA
from heatlens.input.dicom.values import place_bits
from heatlens.input.grey_levels import Samples
from heatlens.input.jpeg import check_scans, check_whole
from heatlens.input.jpeg2000 import check_tiles
from heatlens.input.jpeg_process import DecoderFailed, DecoderMissing, decode_jpeg
from heatlens.input.jpeg_structure import read_structure
from heatlens.types import Frame

NO_PIXELS = "the DICOM file has no image in it: it is a report, a plan, or something else without pixels"
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
_DEFLATED_FRAME = uid.UID("1.2.840.10008.1.2.8.1")  # Deflated Image Frame Compression
_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_INSTEAD = "which is not supported: send it uncompressed, or as RLE, JPEG-LS, JPEG 2000 or 8-bit JPEG"
_NO_GDCM = "JPEG Lossless and 12-bit JPEG in DICOM need the extra dicom: pip install 'heatlens[dicom]'"
_DAMAGED_JPEG = "the DICOM image is damaged, or of a rare variant: its JPEG cannot be decoded"
_SOF_LOSSLESS, _SOF_EXTENDED = 0xC3, 0xC1
_END_OF_IMAGE = b"\xff\xd9"  # of all three kinds of JPEG
_LAST_BYTES = 16  # that contain it, whatever padding a writer appends
_RLE_HEADER = struct.Struct("<16L")  # number of segments, and where each begins

Shape = tuple[int, int, int]  # rows, columns, samples per pixel


@dataclass(frozen=True, slots=True)
class _Stream:
    """A compressed frame, and what its own header says; `signed` is `None` where its format has no such thing."""

    data: bytes
    shape: Shape
    bits: int
    signed: bool | None = None


def _jpeg(frame: bytes) -> _Stream:
    with Image.open(BytesIO(frame), formats=["JPEG"]) as image:
        check_scans(frame, image.width * image.height)
        check_whole(frame, image)
        return _Stream(frame, (image.height, image.width, len(image.getbands())), bits=8)


def _jpeg_ls(frame: bytes) -> _Stream:
    header = read_header(frame)
    return _Stream(frame, (header["height"], header["width"], header["components"]), header["bits_per_sample"])


def _jpeg_2000(frame: bytes) -> _Stream:
    """Read the size here: the decoder allocates memory when it reads the header."""
    size = check_tiles(frame)
    shape = (size.height, size.width, size.components)
    return _Stream(frame[size.start :], shape, size.bits, size.signed)  # some writers put boxes before it


@dataclass(frozen=True, slots=True)
class _Codec:
    """pydicom's name of a decoder, and a function that reads a frame's own header."""

    plugin: str
    read_header: Callable[[bytes], _Stream]


_CODECS = (
    dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit), _Codec("pillow", _jpeg))
    | dict.fromkeys(uid.JPEGLSTransferSyntaxes, _Codec("pyjpegls", _jpeg_ls))
    | dict.fromkeys(uid.JPEG2000TransferSyntaxes, _Codec("pylibjpeg", _jpeg_2000))
)


def _is_gdcms(syntax: uid.UID, dataset: Dataset) -> bool:
    """Whether only GDCM reads a frame: JPEG Lossless, or JPEG of more than 8 bits."""
    return syntax in _LOSSLESS or (syntax == uid.JPEGExtended12Bit and dataset.BitsStored > 8)


def _gdcms_jpeg(frame: bytes, syntax: uid.UID) -> _Stream:
    """Read the header of a JPEG that GDCM decodes: of grayscale, or RGB and YBR that is not subsampled.

    Raises:
        UnsupportedImage: It is another kind of JPEG than the transfer syntax says.
    """
    structure = read_structure(frame)
    expected = _SOF_LOSSLESS if syntax in _LOSSLESS else _SOF_EXTENDED
    if structure is None or structure.frame.marker != expected:
        raise UnsupportedImage(f"the DICOM image is compressed in another way than its header says, {_INSTEAD}")
    header = structure.frame
    bits = frame[header.height_at - 1]
    return _Stream(frame, (header.height, header.width, len(header.components)), bits)


def _decoded(dataset: Dataset, stream: _Stream, syntax: uid.UID) -> bytes:
    if dataset.PhotometricInterpretation == "YBR_FULL_422":  # as its samples are, of which there are all
        dataset.PhotometricInterpretation = "YBR_FULL"
    try:
        return decode_jpeg(
            stream.data,
            syntax=syntax,
            shape=stream.shape,
            allocated=int(dataset.BitsAllocated),
            stored=stream.bits,
        )
    except DecoderMissing:
        raise UnsupportedImage(_NO_GDCM) from None
    except DecoderFailed:
        raise UnreadableImage(_DAMAGED_JPEG) from None


def read_frame(dataset: Dataset, frame: Frame, notes: Notes) -> Samples:
    """Decode one frame, and no other; YBR becomes RGB.

    Args:
        dataset: Its pixel module's elements, complete; its signedness is added where it is missing.
        frame: Its number, from 1; the data set has as many.
        notes: Receives a sentence for each assumption.

    Returns:
        The stored values, `[rows, columns]`, or `[rows, columns, 3]` for colors.

    Raises:
        UnsupportedImage: A transfer syntax that is not supported.
        UnreadableImage: No pixels, others than the data set describes, or values that can be read in two ways.
        Exception: Any error of pydicom and its decoders.
    """
    if not any(tag in dataset for tag in PIXEL_DATA):
        raise UnreadableImage(NO_PIXELS)
    syntax = dataset.file_meta.TransferSyntaxUID
    index = frame - 1
    if syntax not in NATIVE:
        _extract(dataset, syntax, index, notes)
        index = 0
    elif "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise UnreadableImage("the DICOM image is compressed, and the file does not say how (transfer syntax)")
    syntax = dataset.file_meta.TransferSyntaxUID
    plugin = _CODECS[syntax].plugin if syntax in _CODECS else ""
    if "PixelData" not in dataset:
        floats: Samples = pixel_array(dataset, index=index)
        return floats
    _note_more_pixels(dataset, syntax, notes)
    if dataset.BitsAllocated == 1 and index:
        _extract_bits(dataset, index)
        index = 0
    return place_bits(dataset, lambda: pixel_array(dataset, index=index, decoding_plugin=plugin), notes)


def _note_more_pixels(dataset: Dataset, syntax: uid.UID, notes: Notes) -> None:
    """Say so if there are more pixels than the header describes: the size, bits or number of frames may be wrong."""
    expected = get_expected_length(dataset)
    if syntax in NATIVE and len(dataset.PixelData) > expected + expected % 2:
        add_note(notes, "There are more pixels than the header describes: the rest is ignored.")


def _extract_bits(dataset: Dataset, index: int) -> None:
    """Leave only one frame of single bits, which may begin and end within a byte: pydicom cuts it off there."""
    size = int(dataset.Rows) * int(dataset.Columns)
    first, skipped = divmod(index * size, 8)
    packed = np.frombuffer(dataset.PixelData, np.uint8, -(-(skipped + size) // 8), first)
    bits = np.unpackbits(packed, bitorder="little")[skipped : skipped + size]
    dataset.PixelData = np.packbits(bits, bitorder="little").tobytes()
    dataset.NumberOfFrames = 1


def _extract(dataset: Dataset, syntax: uid.UID, index: int, notes: Notes) -> None:
    """Leave only one frame in the data set: checked, and unpacked where it is RLE or deflated."""
    if syntax not in (uid.RLELossless, _DEFLATED_FRAME, *_LOSSLESS, *_CODECS):
        raise UnsupportedImage(f"the DICOM image is compressed {_compression(syntax)}, {_INSTEAD}")
    if not dataset["PixelData"].is_undefined_length:
        raise UnreadableImage("the DICOM image is not compressed, though its header says so")
    offsets = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    frame = get_frame(
        BytesIO(dataset.PixelData),
        index,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=None if None in offsets else offsets,
    )
    shape = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    if syntax in _CODECS or syntax in _LOSSLESS:
        # For a truncated frame Pillow raises, but JPEG 2000's decoder invents pixels and JPEG-LS's runs for 15 s.
        if _END_OF_IMAGE not in frame.rstrip(b"\0")[-_LAST_BYTES:]:
            raise UnreadableImage("the DICOM image is truncated")
        apart = _is_gdcms(syntax, dataset)
        stream = _gdcms_jpeg(frame, syntax) if apart else _CODECS[syntax].read_header(frame)
        if stream.shape != shape:
            raise UnreadableImage("the DICOM image has another size than its header says")
        _compare(dataset, stream, notes)
        if apart:
            dataset.PixelData = _decoded(dataset, stream, syntax)
            dataset.PlanarConfiguration = 0
            dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        else:
            dataset.PixelData = encapsulate([stream.data])
    else:
        unpack = _inflated if syntax == _DEFLATED_FRAME else _unpacked
        dataset.PixelData = unpack(frame, shape, int(dataset.BitsAllocated))
        dataset.PlanarConfiguration = 1 if unpack is _unpacked else dataset.get("PlanarConfiguration", 0)
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.NumberOfFrames = 1
    for table in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(table, None)


def _compare(dataset: Dataset, stream: _Stream, notes: Notes) -> None:
    """Follow a stream's own header where the data set's differs, as PS3.5 8.2 says."""
    if stream.bits > dataset.BitsStored:
        dataset.BitsStored = stream.bits
        dataset.BitsAllocated = max(int(dataset.BitsAllocated), 8 * -(-stream.bits // 8))
        dataset.HighBit = stream.bits - 1
        add_note(notes, "The compressed image has more bits than BitsStored: all are read.")
    if stream.signed is None or stream.shape[-1] > 1:
        return
    signed = dataset.get("PixelRepresentation")
    if signed is None:
        dataset.PixelRepresentation = int(stream.signed)
        add_note(notes, "PixelRepresentation is missing: read as in the compressed image.")
    elif stream.signed and not signed:
        dataset.PixelRepresentation = 1
        add_note(notes, "PixelRepresentation says unsigned, and the compressed image is signed: read as signed.")
    elif signed and not stream.signed:  # their bits are those of signed values: pydicom reads them so
        add_note(notes, "PixelRepresentation says signed, and the compressed image is unsigned: read as signed.")


def _compression(syntax: uid.UID) -> str:
    return f"as {syntax.name}" if syntax.is_transfer_syntax else "in a way that DICOM does not know"


def _inflated(frame: bytes, shape: Shape, bits: int) -> bytes:
    """Inflate a frame (PS3.5 A.4.13), to no more than its size."""
    rows, columns, samples = shape
    size = -(-rows * columns * samples * bits // 8)
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size)


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

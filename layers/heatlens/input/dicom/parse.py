"""Read only the elements of a DICOM file that its pixels need: a patient's values never reach the library.

Other elements are skipped here without parsing. The library takes 50 microseconds for an item of a sequence, of which a
small file can have millions, and unpacks a deflated file without a limit.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import Literal, NamedTuple

from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from heatlens.errors import FileTooLarge, TooMuchMemory, UnreadableImage
from heatlens.input.dicom.numbers import Notes, add_note
from heatlens.input.dicom_signature import META_GROUP, data_start
from heatlens.input.image_size import check_size
from heatlens.types import Frame

SIZE = ("Rows", "Columns")
# Where multi-frame files keep a frame's values: its own group, then that of all frames (PS3.3 C.7.6.16).
PER_FRAME_GROUPS = "PerFrameFunctionalGroupsSequence"
FUNCTIONAL_GROUPS = (PER_FRAME_GROUPS, "SharedFunctionalGroupsSequence")
PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PIXELS = (
    *SIZE,
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "PixelRepresentation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{color}PaletteColorLookupTableDescriptor" for color in ("Red", "Green", "Blue")),
    *(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *(f"Segmented{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *FUNCTIONAL_GROUPS,
    *PIXEL_DATA,
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
_PIXEL_TAGS = {int(Tag(name)) for name in PIXEL_DATA}
_PER_FRAME = int(Tag(PER_FRAME_GROUPS))
_SEQUENCES = {Tag(name) for name in (*FUNCTIONAL_GROUPS, "ModalityLUTSequence", "VOILUTSequence")}

_PREAMBLE = bytes(128) + b"DICM"
_TRANSFER_SYNTAX = 0x00020010
_Order = Literal["<", ">"]
_ITEM_GROUP = {"<": b"\xfe\xff", ">": b"\xff\xfe"}
_HEADER_BYTES = 8  # of an element at least
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # of these the length has four bytes

_MAX_ELEMENTS = 300_000  # takes a second; a thousand frames with all their groups have a fifth of them
_MAX_ITEM_BYTES = 256 * 1024  # of a lookup table, 65,536 entries of 16 bits, and as much beside it
_MAX_ITEMS_WITHIN = 1000  # a frame's own group has a dozen
# Size to which a deflated file may unpack, by the largest image: a color one, or two of 16-bit grayscale.
_INFLATED_BYTES_PER_PIXEL, _INFLATED_MORE_BYTES = 4, 16_000_000
_INFLATED_COPIES = 5  # at the peak: the output and its parts, the elements alone and together, and their values
_INFLATED_HEAD_BYTES = 1_000_000  # in which nearly every file says its size


def read(
    data: bytes,
    keywords: tuple[str, ...],
    notes: Notes,
    *,
    max_pixels: int,
    max_bytes: int | None = None,
    frame: Frame = 1,
) -> Dataset:
    """Read some elements of a file, and of sequences one item: that of a frame, or the first.

    Args:
        data: The file.
        keywords: `PIXELS`, or some of them.
        notes: Receives a sentence for each assumption.
        max_pixels: The limit of one image, which also bounds a deflated file.
        max_bytes: Memory that unpacking a deflated file may take; `None` for no limit.
        frame: Whose functional groups are read, from 1.

    Returns:
        A data set of the elements that are present, not deflated, with the transfer syntax. Its pixels are a view of
        the file, not a copy: a file may have thousands of frames. The sequence of a frame that has no groups is empty.

    Raises:
        UnreadableImage: The file is truncated or damaged, or has too many elements.
        ImageTooLarge: The image of a deflated file is over `max_pixels`.
        FileTooLarge: A deflated file has more bytes than an image of `max_pixels` needs.
        TooMuchMemory: Unpacking it takes more than `max_bytes`.
    """
    walk, size = _Walk(data, order="<", implicit=False), None
    syntax, start = UID(""), data_start(data)
    if start < len(_PREAMBLE):
        add_note(notes, "The file has no DICOM preamble: it was recognized by its first elements.")
    for element in walk.elements(start, group=META_GROUP):
        if element.tag == _TRANSFER_SYNTAX:
            syntax = UID(data[element.value : element.stop].rstrip(b"\0 ").decode("ascii", "replace"))
        start = element.stop
    if syntax == DeflatedExplicitVRLittleEndian:
        size = _deflated_size(data[start:], max_pixels)
        if size is not None and keywords == SIZE:
            return size
        data, start, syntax = _inflated(data[start:], max_pixels, max_bytes), 0, ExplicitVRLittleEndian
    order: _Order = ">" if syntax == ExplicitVRBigEndian or (not syntax and data[start : start + 1] == b"\0") else "<"
    implicit = _has_implicit_vrs(data, start, order)
    if not syntax:
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if order == "<" else ExplicitVRBigEndian
        add_note(notes, f"The file does not name its transfer syntax: read as {syntax.name}.")

    walk = _Walk(data, order=order, implicit=implicit)
    tags = {int(Tag(keyword)) for keyword in keywords}
    found = [element for element in walk.elements(start) if element.tag in tags]
    if walk.without_end:
        add_note(notes, "The pixels have no end mark: read to the last fragment.")
    cutter = _Walk(data, order=order, implicit=implicit)  # which steps through items of the groups once more
    dataset = _dataset(syntax, [cutter.cut(each, frame) for each in found if each.tag not in _PIXEL_TAGS])
    dataset.update({Tag(each.tag): walk.pixels(each) for each in found if each.tag in _PIXEL_TAGS})
    if size is not None and any(dataset.get(keyword) != size.get(keyword) for keyword in SIZE):
        raise UnreadableImage("the DICOM file contradicts itself: it has Rows or Columns (0028,0010/0011) twice")
    return dataset


class _Element(NamedTuple):
    """An element: its tag, where it and its value begin, and where they end."""

    tag: int
    start: int
    value: int
    stop: int


class _Walk:
    """Step from element to element, in one byte order, with implicit or explicit VRs."""

    def __init__(self, data: bytes, *, order: _Order, implicit: bool) -> None:
        self._data = data
        self._implicit = implicit
        self._tag, self._long, self._short = (struct.Struct(order + code) for code in ("HH", "L", "H"))
        self._left = _MAX_ELEMENTS
        self.without_end = False

    def elements(self, start: int, *, group: int | None = None) -> Iterator[_Element]:
        """Yield the elements from `start` on: all, in whatever order they are, or as long as they are of one group.

        What cannot be read behind the pixels is ignored: it is a file's padding, and no part of its image.
        """
        at, has_pixels = start, False
        while at + _HEADER_BYTES <= len(self._data):
            if group is not None and self._tag.unpack_from(self._data, at)[0] != group:
                return
            try:
                element = self._element(at)
            except (UnreadableImage, struct.error):
                if has_pixels:
                    return
                raise
            if element.tag >> 16 != _ITEM >> 16:
                yield element
            has_pixels |= element.tag in _PIXEL_TAGS
            at = element.stop

    def _element(self, at: int) -> _Element:
        tag, value, length, implicit = self._header(at, implicit=self._implicit)
        if length != _UNDEFINED:
            stop = value + length
        elif tag >> 16 == _ITEM >> 16:  # outside of any sequence: its elements follow
            stop = value
        elif tag in _PIXEL_TAGS:
            stop = self._end_of_fragments(value)
        else:
            stop = self._end(_Level(item=False, implicit=implicit), value)
        if stop > len(self._data):
            raise UnreadableImage("the DICOM file is truncated")
        return _Element(tag, at, value, stop)

    def pixels(self, element: _Element) -> DataElement:
        """Return the pixels without copying them."""
        vr = self._data[element.start + 4 : element.start + 6]
        undefined = self._header(element.start, implicit=self._implicit)[2] == _UNDEFINED
        value = memoryview(self._data)[element.value : element.stop]
        name = "OB" if vr == b"OB" and not self._implicit else "OW"
        return DataElement(element.tag, name, value, is_undefined_length=undefined, validation_mode=config.IGNORE)

    def cut(self, element: _Element, frame: Frame = 1) -> bytes:
        """Copy an element; of a sequence that may be long, one item: that of the frame, or the first."""
        if element.tag not in _SEQUENCES:
            return self._data[element.start : element.stop]
        item = self._item(element, frame - 1 if element.tag == _PER_FRAME else 0)
        if len(item) > _MAX_ITEM_BYTES or item.count(self._packed(_ITEM)) > _MAX_ITEMS_WITHIN:
            raise UnreadableImage("the DICOM file has a table or a group larger than any image needs")
        vr = b"" if self._implicit else b"SQ\0\0"
        head = self._packed(element.tag) + vr + self._long.pack(_UNDEFINED)
        return head + item + self._delimiter()

    def _item(self, sequence: _Element, place: int) -> bytes:
        """Copy the item at a place of a sequence; nothing where it has fewer."""
        at = sequence.value
        while at < sequence.stop:
            tag, value, length, _ = self._header(at, implicit=True)
            if tag != _ITEM:
                break
            inner = _Level(item=True, implicit=self._implicit)
            stop = self._end(inner, value) if length == _UNDEFINED else value + length
            if place == 0:
                return self._data[at : min(stop, sequence.stop)]
            at, place = stop, place - 1
        return b""

    def _delimiter(self) -> bytes:
        return self._packed(_SEQUENCE_END) + self._long.pack(0)

    def _packed(self, tag: int) -> bytes:
        return self._tag.pack(tag >> 16, tag & 0xFFFF)

    def _header(self, at: int, *, implicit: bool) -> tuple[int, int, int, bool]:
        """Read tag, start of the value, its length, and whether VRs are implicit within it."""
        self._left -= 1
        if self._left < 0:
            raise UnreadableImage(f"the DICOM file has more than {_MAX_ELEMENTS:,} elements, which no image needs")
        group, number = self._tag.unpack_from(self._data, at)
        tag = group << 16 | number
        if implicit or group == _ITEM >> 16:  # items and their delimiters never have a VR
            return tag, at + 8, self._long.unpack_from(self._data, at + 4)[0], implicit
        vr = self._data[at + 4 : at + 6]
        if not b"AA" <= vr <= b"ZZ":  # as in pydicom: some writers change to implicit VRs within a file
            return tag, at + 8, self._long.unpack_from(self._data, at + 4)[0], True
        if vr in _LONG_VRS:
            return tag, at + 12, self._long.unpack_from(self._data, at + 8)[0], vr == b"UN"
        return tag, at + 8, self._short.unpack_from(self._data, at + 6)[0], False

    def _end_of_fragments(self, at: int) -> int:
        """Find the end of compressed pixels: behind their end mark, or behind the last fragment if there is none."""
        while at + _HEADER_BYTES <= len(self._data):
            tag, value, length, _ = self._header(at, implicit=True)
            if tag == _SEQUENCE_END:
                return value
            if tag != _ITEM:
                break
            at = value + length
        self.without_end = True
        return at

    def _end(self, outermost: "_Level", at: int) -> int:
        """Find the end of a sequence or item of undefined length from `at` on, at any depth of nesting."""
        levels = [outermost]
        while levels:
            level = levels[-1]
            tag, at, length, implicit = self._header(at, implicit=level.implicit)
            if tag == (_ITEM_END if level.item else _SEQUENCE_END):
                levels.pop()
            elif not level.item and tag != _ITEM:
                raise UnreadableImage("the DICOM file is damaged: a sequence contains something other than items")
            elif length == _UNDEFINED:
                levels.append(_Level(item=not level.item, implicit=implicit))
            else:
                at += length
        return at


class _Level(NamedTuple):
    """A level of nesting: an item of elements or a sequence of items, and whether VRs are implicit in it."""

    item: bool
    implicit: bool


def _has_implicit_vrs(data: bytes, start: int, order: _Order) -> bool:
    """Whether VRs are implicit: as in pydicom, the form of the first element decides, not the transfer syntax."""
    while data.startswith(_ITEM_GROUP[order], start):  # an item outside of any sequence has no VR
        start += _HEADER_BYTES
    vr = data[start + 4 : start + 6]
    return not (vr.isalpha() and vr.isupper())


def _deflated_size(packed: bytes, max_pixels: int) -> Dataset | None:
    """Read and check the size of a deflated file's image in its first part alone; `None` if it is not there."""
    head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, _INFLATED_HEAD_BYTES)
    walk = _Walk(head, order="<", implicit=_has_implicit_vrs(head, 0, "<"))
    tags, found = {int(Tag(keyword)) for keyword in SIZE}, list[bytes]()
    with suppress(UnreadableImage, struct.error):  # within an element that is longer than the head
        for element in walk.elements(0):
            if element.tag in tags:
                found.append(walk.cut(element))
    size = _dataset(ExplicitVRLittleEndian, found)
    if any(size.get(keyword) is None for keyword in SIZE):
        return None
    check_size(int(size.Columns), int(size.Rows), max_pixels)
    return size


def _inflated(packed: bytes, max_pixels: int, max_bytes: int | None) -> bytes:
    most = max_pixels * _INFLATED_BYTES_PER_PIXEL + _INFLATED_MORE_BYTES
    fitting = most if max_bytes is None else max_bytes // _INFLATED_COPIES
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, min(most, fitting) + 1)
    if len(unpacked) > most:
        raise FileTooLarge(f"the DICOM file is deflated, and over the limit of {most:,} bytes when it is unpacked")
    if len(unpacked) > fitting:
        raise TooMuchMemory(
            f"the DICOM file is deflated, and has over {fitting:,} bytes when it is unpacked, more than the memory for "
            "one image allows: send a smaller image, or give the function or the server more memory"
        )
    return unpacked


def _dataset(syntax: UID, elements: Iterable[bytes]) -> Dataset:
    return dcmread(BytesIO(_PREAMBLE + _meta(syntax) + b"".join(elements)))


def _meta(syntax: UID) -> bytes:
    value = syntax.encode("ascii")
    value += bytes(len(value) % 2)
    element = struct.pack("<HH2sH", META_GROUP, _TRANSFER_SYNTAX & 0xFFFF, b"UI", len(value)) + value
    return struct.pack("<HH2sHL", META_GROUP, 0, b"UL", 4, len(element)) + element

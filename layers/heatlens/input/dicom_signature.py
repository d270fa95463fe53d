"""Recognize DICOM by its first bytes, with or without a preamble, without importing the library that reads it."""

import struct
from collections.abc import Iterator

META_GROUP = 0x0002
_MAGIC = b"DICM"
_PREAMBLE_BYTES = 128
_FIRST_GROUPS = (META_GROUP, 0x0008)  # the latter begins every data set: character set, image type, UIDs, dates
_MIN_ELEMENTS = 3  # of ascending tags, before a file without a preamble counts as DICOM
_MIN_EXPLICIT_HINTS, _MIN_IMPLICIT_HINTS = 1, 2  # of such elements, before it looks like DICOM
_MAX_VALUE_BYTES = 1024  # of each of them
_HEAD_BYTES = 4096  # in which they are
_VRS = frozenset(b"AE AS AT CS DA DS DT IS LO LT OB OW PN SH SQ ST TM UC UI UL UN UR US UT".split())
_LONG_VRS = frozenset(b"OB OW SQ UC UN UR UT".split())


def is_dicom(data: bytes) -> bool:
    """Whether a file has a DICOM preamble, or begins with several elements in order as only DICOM has them."""
    start = data_start(data)
    return start > 0 or _count_elements(data) == _MIN_ELEMENTS


def lacks_preamble(data: bytes) -> bool:
    """Whether a file begins as a data set does, with too few elements to be taken for one."""
    least = _MIN_EXPLICIT_HINTS if data[4:6] in _VRS else _MIN_IMPLICIT_HINTS
    return not data_start(data) and least <= _count_elements(data) < _MIN_ELEMENTS


def data_start(data: bytes) -> int:
    """Find the first element: behind the preamble, or behind its magic word alone, or at 0."""
    if data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_MAGIC)] == _MAGIC:
        return _PREAMBLE_BYTES + len(_MAGIC)
    has_elements = data.startswith(_MAGIC) and _count_elements(data[len(_MAGIC) : _HEAD_BYTES]) == _MIN_ELEMENTS
    return len(_MAGIC) if has_elements else 0


def _count_elements(data: bytes) -> int:
    """Count the first elements that are as in a data set, in the better byte order, up to `_MIN_ELEMENTS`."""
    return max(_count_in_order(data, order) for order in "<>")


def _count_in_order(data: bytes, order: str) -> int:
    last, count = -1, 0
    for tag in _tags(data, order):
        if tag <= last or (count == 0 and tag >> 16 not in _FIRST_GROUPS):
            break
        last, count = tag, count + 1
        if count == _MIN_ELEMENTS:
            break
    return count


def _tags(data: bytes, order: str) -> Iterator[int]:
    """Yield the tags of the first elements, as long as their VRs and lengths are possible."""
    at = 0
    implicit = data[4:6] not in _VRS
    while at + 12 <= len(data):
        group, number, long = struct.unpack_from(f"{order}HHL", data, at)
        vr, length, value = data[at + 4 : at + 6], long, at + 8
        if not implicit:
            [length] = struct.unpack_from(f"{order}H", data, at + 6)
            if vr in _LONG_VRS:
                length, value = *struct.unpack_from(f"{order}L", data, at + 8), at + 12
        if length > _MAX_VALUE_BYTES or length % 2 or not (implicit or vr in _VRS):
            return
        yield group << 16 | number
        at = value + length

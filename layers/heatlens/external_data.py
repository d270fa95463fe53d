"""Find out whether an ONNX file keeps tensors in other files, which its digest would not cover.

The core has no ONNX library, and OpenVINO follows such references by itself. So the file is read here as a protocol
buffer: fields that can contain a tensor are followed, all others, such as weights, are skipped.
"""

from collections.abc import Iterator
from mmap import mmap
from typing import Literal

Kind = Literal["model", "graph", "node", "attribute", "function", "training", "sparse", "tensor"]

# https://github.com/onnx/onnx/blob/main/onnx/onnx.proto: the fields that can contain a tensor, by number.
_INNER: dict[Kind, dict[int, Kind]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor: the location of external values, and whether they are external
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def refers_to_files(data: bytes | mmap) -> bool:
    """Find out whether a tensor of the model has its values in another file.

    Args:
        data: The whole file.

    Raises:
        ValueError: It is not a protocol buffer.
    """
    try:
        return _refers(memoryview(data), "model")
    except (IndexError, RecursionError) as error:
        raise ValueError("not a protocol buffer") from error


def _refers(data: memoryview, kind: Kind) -> bool:
    for number, value in _fields(data):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
            return True
        inner = _INNER[kind].get(number)
        if inner and isinstance(value, memoryview) and _refers(value, inner):
            return True
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number, and its value: a number or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _LENGTH:
            size, at = _varint(data, at)
        elif wire in _FIXED_BYTES:
            size = _FIXED_BYTES[wire]
        else:
            raise ValueError("not a protocol buffer")
        if at + size > len(data):
            raise ValueError("not a protocol buffer")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at

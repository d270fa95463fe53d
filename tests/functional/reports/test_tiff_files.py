"""TIFF files as microscopes, scanners and converters write them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from heatlens.input.decode import decode


def signed_tiff(values: np.ndarray[tuple[int, int], np.dtype[np.int8]], order: str) -> bytes:
    """Write 8-bit values and say that they are signed (SampleFormat 2)."""
    height, width = values.shape
    entries = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: height, 279: values.size, 339: 2}
    directory = struct.pack(f"{order}H", len(entries))
    for tag, value in entries.items():
        directory += struct.pack(f"{order}HHLL", tag, 4, 1, value)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}L", 8) + directory + bytes(4)
    return head.ljust(200, b"\0") + values.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_8_bit_values_do_not_wrap_round(order: str) -> None:
    values = np.array([[-128, -1, 0, 1, 127]], np.int8)
    data = signed_tiff(values, order)
    assert Image.open(io.BytesIO(data)).mode == "L"

    assert np.asarray(decode(data, max_pixels=100).image).tolist() == [[0, 127, 128, 129, 255]]
    window = np.asarray(decode(data, max_pixels=100, window=(0, 3)).image)
    assert window.tolist() == [[0, 64, 191, 255, 255]]
    assert np.asarray(decode(signed_tiff(values * 0 - 5, order), max_pixels=100).image).tolist() == [[0] * 5]

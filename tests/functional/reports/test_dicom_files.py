"""DICOM files as scanners, archives and converters write them."""

import struct
import zlib

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.functional.conftest import MakeClient
from tests.support.dicom import dicom

BATCH = "/api/inference/heatmap-batch"
PREDICT = "/api/inference/predict-batch"


def with_a_private_element_first(side: int) -> bytes:
    """Write a deflated constant picture whose first element is private, of a group behind that of the size."""
    pixels = np.full((side, side), 7, "u1")
    deflated, explicit = (dicom(pixels, DeflatedExplicitVRLittleEndian), dicom(pixels))
    head, start = (144 + struct.unpack_from("<L", data, 140)[0] for data in (deflated, explicit))
    private = struct.pack("<HH2sH", 0x0029, 0x1010, b"LO", 8) + b"private "
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflated[:head] + packer.compress(private + explicit[start:]) + packer.flush()


@pytest.mark.parametrize("path", [BATCH, PREDICT])
def test_a_private_element_before_the_size_does_not_pass_the_limit_of_a_request(
    make_client: MakeClient, path: str
) -> None:
    data = with_a_private_element_first(5000)
    assert len(data) < 30_000

    response = make_client().post(path, files=[("files", (f"{number}.dcm", data)) for number in range(20)])

    assert (response.status_code, response.json()["code"]) == (413, "limit.request_pixels")
    assert "500.0 megapixels together" in response.json()["detail"]


def test_a_file_that_cannot_be_measured_fails_alone(make_client: MakeClient) -> None:
    good = with_a_private_element_first(64)
    files = [good, *[good[: len(good) // 2]] * 20, good]

    answer = make_client().post(BATCH, files=[("files", ("a.dcm", data)) for data in files]).json()

    assert [item["code"] for item in answer["results"]] == [None, *["input.unreadable"] * 20, None]

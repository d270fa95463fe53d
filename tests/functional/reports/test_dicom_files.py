"""DICOM files as scanners, archives and converters write them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from starlette.testclient import TestClient

from heatlens.errors import UnreadableImage, UnsupportedImage
from heatlens.input.decode import decode, measure
from heatlens.input.dicom_signature import is_dicom, lacks_preamble
from heatlens.types import Window
from tests.functional.cli.test_cli import heatlens
from tests.functional.conftest import MakeClient
from tests.support.dicom import CARRIED, Array, compress, dataset, dicom, with_text, written

MANY = 10_000_000
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


def drawn(data: bytes, window: Window | None = None) -> tuple[Array, tuple[str, ...]]:
    picture = decode(data, max_pixels=MANY, window=window)
    return np.asarray(picture.image), picture.notes


def assert_drawn_as(data: bytes, plain: bytes, *notes: str) -> None:
    """Assert that a file is drawn as a plain one, which needs no note, and with these notes."""
    (levels, said), (expected, none) = drawn(data), drawn(plain)
    assert np.array_equal(levels, expected)
    assert said == notes
    assert none == ()


TWELVE = np.random.default_rng(1).integers(0, 4096, (40, 50)).astype("<u2")
SIGNED = np.random.default_rng(2).integers(-2000, 2000, (40, 50)).astype("<i2")
COLORS = np.random.default_rng(3).integers(0, 256, (40, 50, 3)).astype("u1")
PLAIN = dicom(TWELVE, bits=12)
HU: dict[str, Any] = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
SOFT_TISSUE: dict[str, Any] = {"WindowCenter": 40, "WindowWidth": 400}


def without(pixels: Array, *keywords: str, bits: int = 0) -> bytes:
    """Write a file that lacks these elements."""
    made = dataset(pixels, bits=bits)
    for keyword in keywords:
        del made[keyword]
    return written(made)


def encapsulated(made: Dataset, frame: bytes, syntax: UID, *, end: bool = True) -> bytes:
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    data = written(made)
    return data if end else data.removesuffix(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))


def compressed(pixels: Array, syntax: UID, *, bits: int = 0) -> bytes:
    """Return the only frame of a compressed file."""
    made = dataset(pixels, bits=bits)
    compress(made, syntax)
    return get_frame(made.PixelData, 0, number_of_frames=1)


ASSUMED = "The file does not name its transfer syntax: read as Explicit VR Little Endian."
NO_PREAMBLE = "The file has no DICOM preamble: it was recognized by its first elements."


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        (ImplicitVRLittleEndian, "Implicit VR Little Endian"),
        (ExplicitVRLittleEndian, "Explicit VR Little Endian"),
        (ExplicitVRBigEndian, "Explicit VR Big Endian"),
    ],
)
@pytest.mark.parametrize("kept", ["nothing before the data set", "the meta elements", "the magic word"])
def test_a_file_without_a_preamble(syntax: UID, name: str, kept: str) -> None:
    """MOSAIC and planning systems store the data set alone (pydicom 1 needed `force`)."""
    pixels = TWELVE.astype(">u2") if syntax == ExplicitVRBigEndian else TWELVE
    tags: dict[str, Any] = {"SpecificCharacterSet": "ISO_IR 100", "ImageType": ["ORIGINAL", "PRIMARY"]}
    data = written(dataset(pixels, syntax, bits=12, **tags))
    start = 144 + struct.unpack_from("<L", data, 140)[0]
    start = {"nothing before the data set": start, "the meta elements": 132, "the magic word": 128}[kept]

    assumed = f"The file does not name its transfer syntax: read as {name}."
    notes = (NO_PREAMBLE, assumed) if kept == "nothing before the data set" else (NO_PREAMBLE,)

    assert_drawn_as(data[start:], PLAIN, *notes)
    assert measure(data[start:], max_pixels=MANY) == 2000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        bytes(500),
        b"\x08\0\x05\0" * 100,
        PLAIN[4:],
        PLAIN[:100] + PLAIN[128:],
        b" " + PLAIN[132:],
        PLAIN[128:132] * 31 + PLAIN[:200],
        bytes(64) + PLAIN[128:],
        PLAIN[128:132] + b" is the word behind the preamble",
        struct.pack("<HHL", 8, 5, 2) + b"ab" + bytes(20),
        struct.pack("<HHL", 0x10, 5, 2) + b"ab" + struct.pack("<HHL", 0x10, 6, 2) + b"ab" + bytes(20),
        *(np.random.default_rng(seed).bytes(4000) for seed in range(200)),
        b"The preamble of a DICOM file is missing here: DICM\n" * 50,
        b"GIF89a" + bytes(200),
        b"II*\0" + bytes(200),
    ],
)
def test_other_bytes_are_not_taken_for_a_file_without_a_preamble(data: bytes) -> None:
    assert not is_dicom(data)
    assert not lacks_preamble(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
        b"\x08\0\x05\0CS\x02\0ab" * 3 + bytes(100),
        b"\0\x08\0\x05CS\0\x02ab" + bytes(100),
        struct.pack("<HHL", 8, 5, 2) + b"ab" + struct.pack("<HHL", 8, 8, 2) + b"ab" + bytes(20),
    ],
    ids=["one element", "the same again", "big endian", "two without VRs"],
)
def test_a_beginning_of_a_data_set_is_an_error_that_names_the_preamble(data: bytes) -> None:
    for read in (measure, decode):
        with pytest.raises(UnsupportedImage, match=r"the preamble of 128 bytes and the word DICM are missing.*dcmconv"):
            read(data, max_pixels=MANY)


def test_other_bytes_are_no_image_of_any_type() -> None:
    with pytest.raises(UnsupportedImage, match="the bytes are not an image of a supported type"):
        drawn(PLAIN[4:])


def test_a_data_set_with_two_elements_of_its_first_group_is_read() -> None:
    """Its class and its own UID, and then those of the pixels."""
    assert_drawn_as(PLAIN[144 + struct.unpack_from("<L", PLAIN, 140)[0] :], PLAIN, NO_PREAMBLE, ASSUMED)


def test_a_compressed_file_that_does_not_say_how() -> None:
    made = dataset(TWELVE, bits=12, SpecificCharacterSet="ISO_IR 100")
    data = encapsulated(made, compressed(TWELVE, JPEGLSLossless, bits=12), JPEGLSLossless)
    start = 144 + struct.unpack_from("<L", data, 140)[0]

    with pytest.raises(UnreadableImage, match=r"compressed, and the file does not say how \(transfer syntax\)"):
        drawn(data[start:])


@pytest.mark.parametrize("zeros", [2, 14, 16, 4000])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless])
def test_a_compressed_frame_is_padded_with_zeros_behind_its_end(syntax: UID, zeros: int) -> None:
    gray = COLORS[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "JPEG")
    frame = buffer.getvalue() if syntax == JPEGBaseline8Bit else compressed(gray, syntax)

    padded, plain = (encapsulated(dataset(gray), frame + bytes(count), syntax) for count in (zeros, 0))

    assert_drawn_as(padded, plain)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("after", [b"", b"\0\0", bytes(64)])
def test_compressed_pixels_without_a_sequence_delimiter(syntax: UID, after: bytes) -> None:
    data = encapsulated(dataset(TWELVE, bits=12), compressed(TWELVE, syntax, bits=12), syntax, end=False) + after

    assert_drawn_as(data, PLAIN, "The pixels have no end mark: read to the last fragment.")
    with pytest.raises(UnreadableImage, match="truncated"):
        drawn(data[: len(data) - len(after) - 40])


def test_decimal_commas() -> None:
    texts = {"WindowCenter": "40,5", "WindowWidth": "400,0", "RescaleSlope": "1,0", "RescaleIntercept": "-1024,0"}
    plain = dicom(TWELVE, bits=12, **HU, WindowCenter=40.5, WindowWidth=400)

    assert_drawn_as(with_text(PLAIN, **texts), plain, "A decimal comma was read as a point.")


@pytest.mark.parametrize(
    ("center", "width"), [("", "400"), ("40", " "), ("", ""), ("soft", "tissue"), ("40", "nan"), ("\\40", "\\400")]
)
def test_a_window_that_is_not_two_numbers_is_ignored(center: str, width: str) -> None:
    data = with_text(dicom(TWELVE, bits=12, **HU), WindowCenter=center, WindowWidth=width)
    note = "The window of the file is not two numbers and was ignored."

    assert_drawn_as(data, PLAIN, note)
    asked, plain = drawn(data, (40, 400)), drawn(dicom(TWELVE, bits=12, **HU, **SOFT_TISSUE))
    assert np.array_equal(asked[0], plain[0])
    assert asked[1] == ()


def test_a_window_without_a_width_is_ignored() -> None:
    data = dicom(TWELVE, bits=12, WindowCenter=40, WindowWidth=0)

    assert_drawn_as(data, PLAIN, "The window of the file has no width and was ignored.")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("pixels", "written_as", "read_as"),
    [
        (TWELVE, "monochrome2", "MONOCHROME2"),
        (TWELVE, "Monochrome1", "MONOCHROME1"),
        (COLORS, "rgb", "RGB"),
        (COLORS, "ybr_full", "YBR_FULL"),
    ],
)
def test_a_color_space_in_small_letters(pixels: Array, written_as: str, read_as: str) -> None:
    bits = 12 if pixels is TWELVE else 8
    note = f"PhotometricInterpretation is not in capital letters: read as {read_as}."

    assert_drawn_as(
        dicom(pixels, bits=bits, PhotometricInterpretation=written_as),
        dicom(pixels, bits=bits, PhotometricInterpretation=read_as),
        note,
    )


def test_no_color_space_and_one_sample() -> None:
    data = without(TWELVE, "PhotometricInterpretation", bits=12)

    assert_drawn_as(data, PLAIN, "PhotometricInterpretation is missing: read as MONOCHROME2.")
    with pytest.raises(UnreadableImage, match="does not say its color space: it has no PhotometricInterpretation"):
        drawn(without(COLORS, "PhotometricInterpretation"))


@pytest.mark.parametrize("colors", ["RGB", "YBR_FULL"])
def test_a_color_space_with_one_sample(colors: str) -> None:
    note = "PhotometricInterpretation names colors, and there is one sample per pixel: read as grayscale."

    assert_drawn_as(dicom(TWELVE, bits=12, PhotometricInterpretation=colors), PLAIN, note)


def test_grayscale_with_three_samples_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="SamplesPerPixel is not that of its color space"):
        drawn(dicom(COLORS, PhotometricInterpretation="MONOCHROME2"))


@pytest.mark.parametrize(
    ("pixels", "keyword", "note"),
    [
        (TWELVE, "PixelRepresentation", "PixelRepresentation is missing: read as unsigned."),
        (TWELVE, "BitsStored", "BitsStored is missing: read as 12."),
        (SIGNED, "BitsStored", "BitsStored is missing: read as 12."),
        (TWELVE, "BitsAllocated", "BitsAllocated is missing: read as 16."),
        (TWELVE, "SamplesPerPixel", "SamplesPerPixel is missing: read as 1."),
        (COLORS, "PixelRepresentation", "PixelRepresentation is missing: read as unsigned."),
        (COLORS, "SamplesPerPixel", "SamplesPerPixel is missing: read as 3."),
        (COLORS[..., 0], "PixelRepresentation", "PixelRepresentation is missing: read as unsigned."),
    ],
)
def test_an_element_is_missing_and_only_one_reading_is_possible(pixels: Array, keyword: str, note: str) -> None:
    bits = 12 if pixels.itemsize > 1 else 8
    low = pixels // 2 if pixels is TWELVE else pixels  # the highest bit is 0

    assert_drawn_as(without(low, keyword, bits=bits), dicom(low, bits=bits), note)


def test_an_element_is_missing_and_two_readings_are_possible() -> None:
    with pytest.raises(UnreadableImage, match="does not say whether its values are signed: it has no PixelRepres"):
        drawn(without(SIGNED, "PixelRepresentation"))
    with pytest.raises(UnreadableImage, match="does not say how many bits a value has: it has no BitsAllocated"):
        drawn(without(TWELVE, "BitsAllocated", "BitsStored"))


def test_neither_bits_stored_nor_the_highest_bit() -> None:
    data = without(TWELVE, "BitsStored", "HighBit")

    assert_drawn_as(data, PLAIN, "BitsStored is missing: read as 16.")


def test_a_signed_jpeg_2000_stream_under_an_unsigned_header() -> None:
    data = encapsulated(dataset(TWELVE, bits=12), compressed(SIGNED, JPEG2000Lossless, bits=12), JPEG2000Lossless)
    note = "PixelRepresentation says unsigned, and the compressed image is signed: read as signed."

    assert_drawn_as(data, dicom(SIGNED, bits=12), note)


def test_an_unsigned_jpeg_2000_stream_under_a_signed_header() -> None:
    [levels, notes] = drawn((CARRIED / "J2K_pixelrep_mismatch.dcm").read_bytes())

    assert notes == ("PixelRepresentation says signed, and the compressed image is unsigned: read as signed.",)
    assert levels[0, 0] == 0  # air, and no bright corner


def test_a_jpeg_2000_stream_says_the_sign_that_the_header_lacks() -> None:
    made = dataset(SIGNED, bits=12)
    del made["PixelRepresentation"]
    data = encapsulated(made, compressed(SIGNED, JPEG2000Lossless, bits=12), JPEG2000Lossless)

    assert_drawn_as(data, dicom(SIGNED, bits=12), "PixelRepresentation is missing: read as in the compressed image.")


def test_a_stream_with_more_bits_than_the_header_says() -> None:
    data = encapsulated(dataset(TWELVE, bits=8), compressed(TWELVE, JPEGLSLossless, bits=12), JPEGLSLossless)

    assert_drawn_as(data, PLAIN, "The compressed image has more bits than BitsStored: all are read.")


WINDOWED = dicom(TWELVE, bits=12, **HU, **SOFT_TISSUE)


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        ({"RescaleSlope": "0"}, "RescaleSlope is 0: read as 1."),
        ({"RescaleSlope": ""}, "RescaleSlope is missing: read as 1."),
        ({"RescaleSlope": "one"}, "RescaleSlope is not a number: read as 1."),
    ],
)
def test_a_slope_that_is_0_or_missing_is_1(texts: dict[str, str], note: str) -> None:
    assert_drawn_as(with_text(WINDOWED, **texts), WINDOWED, note)


def test_an_intercept_without_a_slope_and_a_slope_without_an_intercept() -> None:
    intercept = dicom(TWELVE, bits=12, RescaleIntercept="-1024", **SOFT_TISSUE)
    slope = dicom(TWELVE, bits=12, RescaleSlope="0.5", **SOFT_TISSUE)
    both = dicom(TWELVE, bits=12, RescaleSlope="0.5", RescaleIntercept="0", **SOFT_TISSUE)

    assert_drawn_as(intercept, WINDOWED, "RescaleSlope is missing: read as 1.")
    assert_drawn_as(slope, both, "RescaleIntercept is missing: read as 0.")


@pytest.mark.parametrize("pixels", [TWELVE, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("high", [12, 13, 15])
@pytest.mark.parametrize("below", [0, 1])
def test_values_in_the_upper_bits_are_shifted(pixels: Array, high: int, below: int) -> None:
    """Bits below the values may be an overlay's, and those above may be anything."""
    places = high - 11
    made = dataset((pixels << places) | below, bits=12, HighBit=high)
    note = f"HighBit is {high} with 12 bits stored: the values were shifted by {places} bits."

    assert_drawn_as(written(made), dicom(pixels, bits=12), note)


@pytest.mark.parametrize("high", [7, 10, 15])
def test_a_wrong_high_bit_beside_values_in_the_lower_bits(high: int) -> None:
    small = TWELVE % 200
    note = "HighBit is not that of BitsStored: the values lie in the lowest bits and are read there."

    assert_drawn_as(dicom(small, bits=12, HighBit=high), dicom(small, bits=12), note)


@pytest.mark.parametrize("high", [7, 16, 200])
def test_a_high_bit_that_cannot_be_is_refused(high: int) -> None:
    wide = (TWELVE << 4) | 7

    with pytest.raises(UnreadableImage, match="the DICOM file contradicts itself: HighBit"):
        drawn(dicom(wide, bits=12, HighBit=high))


DEFLATED_FRAME = b"1.2.840.10008.1.2.8.1\0"  # pydicom does not know it


@pytest.mark.parametrize("pixels", [TWELVE, SIGNED, COLORS], ids=["unsigned", "signed", "colors"])
def test_deflated_image_frames(pixels: Array) -> None:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    frame = packer.compress(pixels.tobytes()) + packer.flush()
    whole, cut = (encapsulated(dataset(pixels), stream, JPEGBaseline8Bit) for stream in (frame, frame[:100]))

    assert_drawn_as(whole.replace(JPEGBaseline8Bit.encode(), DEFLATED_FRAME), dicom(pixels))
    with pytest.raises(UnreadableImage, match="truncated or damaged"):
        drawn(cut.replace(JPEGBaseline8Bit.encode(), DEFLATED_FRAME))


@pytest.mark.parametrize(
    "pixels", [np.full((9, 9), 77, "u1"), np.full((9, 9), 4000, "<u2"), np.full((9, 9, 3), 5, "u1")]
)
def test_a_constant_image_says_so(pixels: Array) -> None:
    assert drawn(dicom(pixels))[1] == ("All pixels of the image have the same value.",)


@pytest.mark.parametrize("tags", [{"Rows": 4}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}])
def test_more_pixels_than_the_header_describes_are_named(tags: dict[str, Any]) -> None:
    data = dicom(np.arange(64, dtype="<u2").reshape(8, 8), **tags)

    assert drawn(data)[1] == ("There are more pixels than the header describes: the rest is ignored.",)


def test_a_byte_that_makes_the_length_even_is_no_pixel() -> None:
    assert drawn(dicom(np.arange(9, dtype="u1").reshape(3, 3)))[1] == ()


def test_explicit_and_implicit_elements_in_one_file() -> None:
    start = 144 + struct.unpack_from("<L", PLAIN, 140)[0]
    implicit = struct.pack("<HHL", 0x0009, 0x1010, 300) + bytes(300)
    at = PLAIN.index(struct.pack("<HH2s", 0x28, 2, b"US"))
    assert at > start

    assert_drawn_as(PLAIN[:at] + implicit + PLAIN[at:], PLAIN)


@pytest.mark.parametrize("path", ["heatmap", "predict"])
def test_an_answer_says_what_was_assumed(client: TestClient, path: str) -> None:
    data = dicom(TWELVE, bits=12, RescaleIntercept="-1024", **SOFT_TISSUE)
    url = f"/api/inference/{path}"

    alone = client.post(url, files={"file": ("a.dcm", data)}).json()
    batch = client.post(f"{url}-batch", files=[("files", ("a.dcm", each)) for each in (data, PLAIN, b"no")]).json()

    notes = ["RescaleSlope is missing: read as 1."]
    assert alone["notes"] == notes
    assert [item["notes"] for item in batch["results"]] == [notes, [], None]


def test_an_answer_that_is_the_overlay_has_the_notes_in_a_header(client: TestClient) -> None:
    data = dicom(TWELVE, bits=12, RescaleIntercept="-1024", **SOFT_TISSUE)
    url, accept = "/api/inference/heatmap", {"accept": "image/png"}

    noted, plain = (client.post(url, files={"file": ("a", each)}, headers=accept).headers for each in (data, PLAIN))

    assert unquote(noted["x-heatlens-notes"]) == "RescaleSlope is missing: read as 1."
    assert "x-heatlens-notes" not in plain


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_the_command_line_says_what_was_assumed(command: str, tmp_path: Path) -> None:
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(dicom(TWELVE, bits=12, WindowCenter=40, WindowWidth=0))

    done = heatlens(*command.split(), scan, "-o", tmp_path)

    assert done.returncode == 0, done.stderr
    assert "  note: The window of the file has no width and was ignored." in done.stdout.splitlines()

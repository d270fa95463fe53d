"""Damaged and hostile DICOM files: a clear error within limits, and no value of the file in it."""

import io
import struct
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jpeg_ls
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from heatlens.errors import (
    FileTooLarge,
    HeatlensError,
    ImageTooLarge,
    InputError,
    LimitError,
    TooMuchMemory,
    UnreadableImage,
    UnsupportedImage,
)
from heatlens.input.decode import decode, measure
from tests.support.dicom import CARRIED, Array, dataset, dicom, lookup_table, sequence, with_text, written

MANY = 10_000_000
PIXELS = np.random.default_rng(0).integers(0, 4096, (40, 50)).astype("<u2")
PLAIN = dicom(PIXELS, bits=12)
MARKER = "Lovelace^Ada"
GROUP_28 = PLAIN.index(struct.pack("<HH2s", 0x28, 2, b"US"))


@pytest.mark.parametrize("read", [measure, decode])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_rejects_one_pixel_over_the_limit(read: Callable[..., object], syntax: UID) -> None:
    data = dicom(PIXELS, syntax)

    assert measure(data, max_pixels=2000) == 2000
    for enough in (2000, 2001):
        read(data, max_pixels=enough)
    with pytest.raises(ImageTooLarge, match=r"^the image is over the limit of 0\.001999 megapixels per image$"):
        read(data, max_pixels=1999)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


PRIVATE = element(0x00291010, b"LO", b"private ")
STRAY = {
    "an item": struct.pack("<HHL", 0xFFFE, 0xE000, 0),
    "an open item": struct.pack("<HHL", 0xFFFE, 0xE000, 2**32 - 1),
    "an item's end": struct.pack("<HHL", 0xFFFE, 0xE00D, 0),
    "a sequence's end": struct.pack("<HHL", 0xFFFE, 0xE0DD, 0),
}
START = 144 + struct.unpack_from("<L", PLAIN, 140)[0]  # of the data set
SIZES = element(0x00280010, b"US", b"\x28\0") + element(0x00280011, b"US", b"\x32\0")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:START] + PRIVATE + PLAIN[START:],
        PLAIN[:GROUP_28] + PRIVATE + PLAIN[GROUP_28:],
        PLAIN[:START] + element(0x00431010, b"LO", b"x ") + PLAIN[START:],
        PLAIN.replace(SIZES, b"") + SIZES,
        PLAIN.replace(SIZES, b"").replace(struct.pack("<HH", 0x7FE0, 0x10), SIZES + struct.pack("<HH", 0x7FE0, 0x10)),
        *[PLAIN[:START] + stray + PLAIN[START:] for stray in STRAY.values()],
        *[PLAIN[:GROUP_28] + stray + PLAIN[GROUP_28:] for stray in STRAY.values()],
        PLAIN + STRAY["an item"],
        PLAIN + bytes(4000),
        PLAIN + b"\xff" * 40,
    ],
    ids=[
        *("private first", "private before group 28", "group 43 first", "size behind the pixels", "size just before"),
        *[f"{name} first" for name in STRAY],
        *[f"{name} before group 28" for name in STRAY],
        *("an item last", "zeros last", "rubbish last"),
    ],
)
def test_what_is_decoded_is_measured_whatever_the_order_of_the_elements(data: bytes) -> None:
    assert len(data) >= len(PLAIN)

    assert same(decoded(data), np.asarray(decode(PLAIN, max_pixels=MANY).image))
    assert measure(data, max_pixels=2000) == 2000
    for read in (measure, decode):
        with pytest.raises(ImageTooLarge):
            read(data, max_pixels=1999)


def test_the_last_of_two_sizes_is_measured_and_decoded() -> None:
    small = element(0x00280010, b"US", b"\1\0") + element(0x00280011, b"US", b"\1\0")

    for data in (PLAIN.replace(SIZES, small + SIZES), PLAIN + SIZES, PLAIN[:START] + small + PLAIN[START:]):
        assert measure(data, max_pixels=MANY) == 2000
        assert same(decoded(data), np.asarray(decode(PLAIN, max_pixels=MANY).image))
    assert measure(PLAIN + small, max_pixels=MANY) == 1
    assert decode(PLAIN + small, max_pixels=MANY).image.size == (1, 1)


@pytest.mark.parametrize("seed", range(4))
def test_what_cannot_be_measured_is_not_decoded(seed: int) -> None:
    """Insert elements and change a byte: both functions see the same image or none."""
    generator = np.random.default_rng(seed)
    parts = [PRIVATE, SIZES, *STRAY.values()]

    images = 0
    for _ in range(150):
        data = bytearray(PLAIN)
        for part in generator.permutation(len(parts))[:3]:
            place = generator.choice([START, GROUP_28, len(PLAIN)])
            data[place:place] = parts[part]
        data[generator.integers(START, GROUP_28 + 100)] = generator.integers(256)
        outcome = decoded(bytes(data))
        if not isinstance(outcome, HeatlensError):
            images += 1
            assert measure(bytes(data), max_pixels=MANY) == outcome.shape[0] * outcome.shape[1]
    assert images > 20


def test_frames_count_once() -> None:
    film = dataset(PIXELS, NumberOfFrames=100)
    film.PixelData = PIXELS.tobytes() * 100

    assert measure(written(film), max_pixels=2000) == 2000
    assert decode(written(film), max_pixels=2000).image.size == (50, 40)


def compressed(syntax: UID, frame: bytes, **tags: object) -> bytes:
    """Make a file whose header describes PIXELS, with this as its only frame."""
    made = dataset(PIXELS.astype("u1"), syntax)
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    return written(made)


def frame_of(pixels: Array, syntax: UID) -> bytes:
    """Make a file with any pixels as its only frame."""
    if syntax == JPEGBaseline8Bit:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        return buffer.getvalue()
    made = dataset(pixels)
    made.compress(syntax, encoding_plugin="pylibjpeg" if syntax == JPEG2000Lossless else "")
    return get_frame(made.PixelData, 0, number_of_frames=1)


SHAPES = [(40, 51), (41, 50), (33, 35), (2000, 3000), (40, 50, 3)]
CODECS = [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless]


@pytest.mark.parametrize(
    ("syntax", "shape"), [*[(syntax, shape) for syntax in CODECS for shape in SHAPES], (JPEGBaseline8Bit, (1, 1))]
)
def test_rejects_a_frame_whose_size_differs_from_the_header(syntax: UID, shape: tuple[int, ...]) -> None:
    frame = frame_of(np.zeros(shape, "u1"), syntax)
    data = compressed(syntax, frame)

    decode(compressed(syntax, frame_of(np.zeros((40, 50), "u1"), syntax)), max_pixels=MANY)  # this is one that may
    with bounded(2_000_000), pytest.raises(UnreadableImage, match="another size than its header says"):
        decode(data, max_pixels=MANY)


def decoded(data: bytes) -> Array | HeatlensError:
    """Decode a file to its pixels, or return its error."""
    try:
        return np.asarray(decode(data, max_pixels=MANY).image)
    except HeatlensError as error:
        return error


def same(outcome: Array | HeatlensError, expected: Array) -> bool:
    return not isinstance(outcome, HeatlensError) and np.array_equal(outcome, expected)


@contextmanager
def bounded(most: int) -> Iterator[None]:
    """Compare the memory that Python and numpy allocate within with a bound."""
    tracemalloc.start()
    try:
        yield
    finally:
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert reached < most


def rle(*segments: bytes) -> bytes:
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(segments))) + b"".join(segments)


def test_an_rle_bomb_unpacks_only_to_the_number_of_pixels() -> None:
    run = b"\x81\x07"  # 128 times 7
    data = compressed(RLELossless, rle(run * 500_000))  # 64 MB

    with bounded(5 * len(data)):
        assert same(decoded(data), np.full((40, 50), 7))


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (rle(b"\x81\x07" * 3), "truncated or damaged"),  # too short
        (rle(b"\x81\x07" * 16, b"\x81\x07" * 16), "another number of RLE segments"),
        (struct.pack("<16L", 0, *[0] * 15), "another number of RLE segments"),
        (struct.pack("<16L", 1, 2**32 - 1, *[0] * 14), "truncated or damaged"),
        (b"short", "truncated or damaged"),
    ],
)
def test_rejects_rle_with_a_wrong_number_of_segments(frame: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableImage, match=sentence):
        decode(compressed(RLELossless, frame), max_pixels=MANY)


def deflated(unpacked: Iterator[bytes]) -> bytes:
    """Make a deflated file of this data set."""
    template = dicom(np.zeros((1, 1), "u1"), DeflatedExplicitVRLittleEndian)
    head = 144 + struct.unpack_from("<L", template, 140)[0]
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return template[:head] + b"".join(packer.compress(part) for part in unpacked) + packer.flush()


@pytest.mark.parametrize("read", [measure, decode])
def test_a_deflated_bomb_is_unpacked_only_to_its_limit(read: Callable[..., object]) -> None:
    bomb = deflated(bytes(1 << 20) for _ in range(200))

    assert len(bomb) < 300_000
    sentence = "deflated, and over the limit of 16,400,000 bytes when it is unpacked"
    with bounded(50_000_000), pytest.raises(FileTooLarge, match=sentence):
        read(bomb, max_pixels=100_000)


def test_a_deflated_file_is_unpacked_only_to_the_memory_of_an_image() -> None:
    bomb = deflated(bytes(1 << 20) for _ in range(200))

    with bounded(50_000_000), pytest.raises(TooMuchMemory, match="over 8,000,000 bytes when it is unpacked"):
        decode(bomb, max_pixels=100_000_000, max_bytes=40_000_000)


def test_only_the_first_part_of_a_deflated_file_is_unpacked_to_measure_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dicom(np.zeros((3000, 2000), "u2"), DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr("heatlens.input.dicom.parse._inflated", lambda *_: pytest.fail("unpacked"))

    with bounded(3_000_000):
        assert measure(data, max_pixels=MANY) == 6_000_000
    with pytest.raises(ImageTooLarge):
        decode(data, max_pixels=5_999_999)


def test_a_second_size_behind_the_first_part_of_a_deflated_file_is_refused() -> None:
    """A large picture would pass the limit of a request as a small one."""
    large = dicom(np.zeros((1200, 1000), "u1"))
    start = 144 + struct.unpack_from("<L", large, 140)[0]
    rows = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 1)

    assert measure(deflated(iter([large[start:]])), max_pixels=MANY) == 1_200_000
    with pytest.raises(UnreadableImage, match="Rows or Columns"):
        decode(deflated(iter([large[start:], rows])), max_pixels=MANY)


@pytest.mark.parametrize(
    "more",
    [
        b"".join(struct.pack("<HH2sH", 9, 0x1000, b"LO", 0) for _ in range(300_001)),
        struct.pack("<HH2sHL", 9, 0x1000, b"SQ", 0, 2**32 - 1) + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 300_001,
        (struct.pack("<HH2sHL", 9, 0x1000, b"SQ", 0, 2**32 - 1) + struct.pack("<HHL", 0xFFFE, 0xE000, 2**32 - 1))
        * 150_001,
    ],
    ids=["elements", "items", "sequences in sequences"],
)
def test_rejects_a_file_with_too_many_elements(more: bytes) -> None:
    with pytest.raises(UnreadableImage, match="more than 300,000 elements, which no image needs"):
        decode(PLAIN[:GROUP_28] + more + PLAIN[GROUP_28:], max_pixels=MANY)


def test_rejects_a_too_large_table_before_parsing() -> None:
    item = dicom(PIXELS, VOILUTSequence=sequence(LUTExplanation="x", RedPaletteColorLookupTableData=bytes(300_000)))
    many = dicom(PIXELS, PerFrameFunctionalGroupsSequence=sequence(SourceImageSequence=[*sequence()] * 1001))

    for data in (item, many):
        with pytest.raises(UnreadableImage, match="a table or a group larger than any image needs"):
            decode(data, max_pixels=MANY)


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd_jpeg.dcm", "image_dfl.dcm"])
def test_every_truncation_is_an_input_error_or_the_image(name: str) -> None:
    data = (CARRIED / name).read_bytes()
    whole = np.asarray(decode(data, max_pixels=MANY).image)

    for length in range(132, len(data), max(1, len(data) // 97)):
        outcome = decoded(data[:length])
        if isinstance(outcome, HeatlensError):
            assert isinstance(outcome, InputError)
        else:  # nothing but what stands behind the pixels was cut off
            assert same(outcome, whole)


def test_rejects_a_jpeg_2000_frame_with_too_many_tiles_before_decoding() -> None:
    frame = bytearray(frame_of(PIXELS.astype("u1"), JPEG2000Lossless))
    assert frame.startswith(b"\xff\x4f\xff\x51")
    assert struct.unpack_from(">2L", frame, 24) == (50, 40)  # one tile
    struct.pack_into(">2L", frame, 8, 5000, 4000)
    struct.pack_into(">2L", frame, 24, 5, 5)

    with bounded(2_000_000), pytest.raises(UnreadableImage, match="more than 4,096 tiles"):
        decode(compressed(JPEG2000Lossless, bytes(frame), Rows=4000, Columns=5000), max_pixels=MANY * 2)


def test_a_jpeg_2000_frame_in_boxes_is_read() -> None:
    frame = frame_of(PIXELS.astype("u1"), JPEG2000Lossless)

    assert same(decoded(compressed(JPEG2000Lossless, b"\0\0\0\x0cjP  \r\n\x87\n" + frame)), PIXELS.astype("u1"))


@pytest.mark.parametrize("syntax", CODECS)
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_frame_in_a_whole_file_is_truncated(syntax: UID, kept: float) -> None:
    frame = frame_of(PIXELS.astype("u1"), syntax)

    with pytest.raises(UnreadableImage, match="the DICOM image is truncated"):
        decode(compressed(syntax, frame[: int(len(frame) * kept)]), max_pixels=MANY)


def test_rejects_a_jpeg_ls_frame_without_an_end_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """CharLS counts zeros up to 2**32 where a stream ends without its marker, which takes 15 seconds."""
    frame = frame_of(PIXELS.astype("u1"), JPEGLSLossless)
    given: list[bytes] = []
    read = jpeg_ls.decode_pixel_data

    def noted(source: bytes) -> object:
        given.append(source)
        return read(source)

    monkeypatch.setattr(jpeg_ls, "decode_pixel_data", noted)

    assert isinstance(decoded(compressed(JPEGLSLossless, frame[:-2])), UnreadableImage)
    assert given == []
    assert same(decoded(compressed(JPEGLSLossless, frame)), PIXELS.astype("u1"))
    assert len(given) == 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (PLAIN[:132], "has no image in it"),
        (PLAIN[:GROUP_28], "has no image in it"),
        (PLAIN[:-1], "is truncated"),
        (dicom(PIXELS).replace(struct.pack("<HH", 0x7FE0, 0x10), struct.pack("<HH", 0x7FE0, 0x11)), "no image in it"),
        (dicom(PIXELS, Rows=0), "truncated or damaged"),
        (dicom(PIXELS, Rows=41), "truncated or damaged"),
        (with_text(PLAIN, NumberOfFrames="two"), "truncated or damaged"),
        (dicom(PIXELS, SamplesPerPixel=3), "SamplesPerPixel is not that of its color space"),
        (with_text(PLAIN, RescaleSlope="nan", RescaleIntercept="0"), None),
        (with_text(PLAIN, WindowCenter="1\\x", WindowWidth="y"), None),
        (compressed(JPEGLosslessSV1, b"x"), "is truncated"),
        (compressed(JPEGLosslessSV1, b"x\xff\xd9"), "compressed in another way than its header says, which is not"),
        (compressed(MPEG2MPML, b"x"), "compressed as MPEG2 Main Profile / Main Level, which"),
        (
            PLAIN.replace(ExplicitVRLittleEndian.encode(), b"1.2.3.4.5.6.7.8.9.0"),
            "compressed in a way that DICOM does not know, which",
        ),
        (compressed(JPEGBaseline8Bit, b"x\xff\xd9"), "truncated or damaged"),
        (
            compressed(JPEGExtended12Bit, b"x\xff\xd9", BitsStored=12, BitsAllocated=16),
            "in another way than its header",
        ),
        (compressed(JPEG2000Lossless, b"\xff\x4f\xff\x51\0\xff\xd9"), "is damaged: it does not say its size"),
        (compressed(JPEG2000Lossless, b"no codestream\xff\xd9"), "is damaged: it does not say its size"),
        (compressed(JPEGLSLossless, b"\xff\xd8\xff\xf7\0\xff\xd9"), "truncated or damaged"),
    ],
)
def test_errors_name_the_problem(data: bytes, sentence: str | None) -> None:
    if sentence is None:
        assert decode(data, max_pixels=MANY).image.size == (50, 40)
        return
    with pytest.raises((UnreadableImage, UnsupportedImage), match=sentence):
        decode(data, max_pixels=MANY)


def test_rejects_a_jpeg_frame_with_too_many_scans_before_decoding() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS.astype("u1")).save(buffer, "JPEG", progressive=True)
    frame = buffer.getvalue()
    scan = frame[frame.rindex(b"\xff\xda") : -2]

    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        decode(compressed(JPEGBaseline8Bit, frame[:-2] + scan * 100 + frame[-2:]), max_pixels=MANY)


def marked() -> dict[str, bytes]:
    """Make files with a patient's name in every element, some intact, some damaged."""
    everywhere: dict[str, Any] = {
        "PatientName": MARKER,
        "PatientID": MARKER,
        "InstitutionName": MARKER,
        "ImageComments": MARKER,
        "ReferencedPatientSequence": sequence(PatientName=MARKER),
    }
    whole = dicom(PIXELS, **everywhere)
    palette = dicom(
        PIXELS,
        **everywhere,
        PhotometricInterpretation="PALETTE COLOR",
        RedPaletteColorLookupTableDescriptor=[6, 0, 16],
        RedPaletteColorLookupTableData=MARKER.encode(),
    )
    table = sequence(LUTExplanation=MARKER, LUTDescriptor=[1, 0, 16])
    return {
        "whole": whole,
        "a window": with_text(whole, WindowCenter=MARKER, WindowWidth=MARKER),
        "a function": with_text(dicom(PIXELS, **everywhere, WindowCenter=9, WindowWidth=9), VOILUTFunction=MARKER),
        "a slope": with_text(whole, RescaleSlope=MARKER, RescaleIntercept=MARKER),
        "frames": with_text(whole, NumberOfFrames=MARKER),
        "rows": with_text(whole, Rows=MARKER),
        "colours": with_text(whole, PhotometricInterpretation=MARKER),
        "a table": dicom(PIXELS, **everywhere, VOILUTSequence=table),
        "a palette": palette,
        "truncated": whole[:-100],
        "a transfer syntax": whole.replace(ExplicitVRLittleEndian.encode() + b"\0", b"1.2.840." + MARKER.encode()),
        "a frame": compressed(JPEG2000Lossless, MARKER.encode() + b"\xff\xd9", **everywhere),
        "a frame of JPEG": compressed(JPEGBaseline8Bit, MARKER.encode() + b"\xff\xd9", **everywhere),
        "a frame of JPEG-LS": compressed(JPEGLSLossless, MARKER.encode() + b"\xff\xd9", **everywhere),
    }


@pytest.mark.contract("words of a file")
@pytest.mark.parametrize("name", list(marked()))
def test_no_value_of_a_file_is_logged_warned_or_returned(
    name: str, heard: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    data, error_text = marked()[name], ""
    assert MARKER.encode() in data

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        outcome = decoded(data)
    if isinstance(outcome, HeatlensError):
        assert isinstance(outcome, InputError)
        error_text = f"{outcome!r} {outcome.__cause__!r} {outcome.__context__!r}"

    all_of_it = " ".join([error_text, *heard, *[str(each.message) for each in warned], *capfd.readouterr()])
    for part in ("Lovelace", "Ada"):
        assert part not in all_of_it


def test_the_files_with_marked_values_reach_the_library() -> None:
    """Some files are drawn and some make the library warn; otherwise the test above would prove nothing."""
    outcomes = {name: decoded(data) for name, data in marked().items()}

    assert isinstance(outcomes["whole"], np.ndarray)
    assert isinstance(outcomes["a function"], np.ndarray)
    sentences = {outcome.detail for outcome in outcomes.values() if isinstance(outcome, HeatlensError)}
    assert len(sentences) > 3


def test_damaged_bytes_are_an_input_error_or_an_image() -> None:
    generator = np.random.default_rng(5)
    files = [PLAIN, *[(CARRIED / name).read_bytes() for name in ("MR_small_RLE.dcm", "JPEGLSNearLossless_08.dcm")]]

    for number in range(300):
        data = bytearray(files[number % len(files)])
        for place in generator.integers(132, len(data), 5):
            data[place] = generator.integers(256)
        outcome = decoded(bytes(data))
        assert not isinstance(outcome, HeatlensError) or isinstance(outcome, InputError | LimitError)


@pytest.mark.parametrize("missing", ["pydicom", "openjpeg", "_CharLS", "pylibjpeg"])
def test_the_error_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    import heatlens.input

    for name in [name for name in sys.modules if name.startswith("heatlens.input.dicom")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(heatlens.input, "dicom", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)

    for read in (measure, decode):
        with pytest.raises(UnsupportedImage, match=r"need the extra dicom.*pip install 'heatlens\[dicom\]'"):
            read(PLAIN, max_pixels=MANY)


def test_lookup_tables_of_the_largest_size_are_read() -> None:
    table = lookup_table(np.arange(65536), first=0, bits=16)

    drawn = np.asarray(decode(dicom(PIXELS, VOILUTSequence=table), max_pixels=MANY).image)

    assert np.array_equal(drawn, np.rint(PIXELS / 257))

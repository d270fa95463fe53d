"""DICOM pictures compared with pydicom's own rendering functions, for pydicom's sample files and made ones."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from heatlens.errors import HeatlensError, InputError, UnreadableImage, UnsupportedImage
from heatlens.input.decode import SUPPORTED, decode
from heatlens.steps import Values
from heatlens.types import Window
from tests.support.dicom import CARRIED, Array, compress, dataset, dicom, lookup_table, sequence, written

MANY = 10_000_000
RESCALED = Values(low=0, high=1)
GENERATOR = np.random.default_rng(0)
TWELVE_BITS = GENERATOR.integers(100, 3000, (12, 17)).astype("<u2")
SIGNED = GENERATOR.integers(-2000, 2000, (12, 17)).astype("<i2")
COLORS = GENERATOR.integers(0, 256, (8, 9, 3)).astype("u1")
# JPEG 2000 wants some pixels for its five resolutions.
LARGER = [
    GENERATOR.integers(100, 3000, (40, 50)).astype("<u2"),
    GENERATOR.integers(-2000, 2000, (40, 50)).astype("<i2"),
    GENERATOR.integers(0, 256, (40, 50, 3)).astype("u1"),
]

NOTHING = "the DICOM file has no image in it: it is a report, a plan, or something else without pixels"
DAMAGED = "the DICOM file is truncated or damaged, or of a rare variant: its image cannot be decoded"
# Of the carried files, those that are no image or none that is read, and why.
REFUSED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "the JPEG 2000 image has more than 4,096 tiles, which no picture needs",
    "badVR.dcm": DAMAGED,  # "1A" frames
    "MR_truncated.dcm": "the DICOM file is truncated",
    "rtplan_truncated.dcm": "the DICOM file is truncated",
    # A byte before its data set, without a preamble.
    "no_meta.dcm": f"the bytes are not an image of a supported type ({SUPPORTED})",
} | dict.fromkeys(
    (
        *("UN_sequence.dcm", "empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"),
        *("no_meta_group_length.dcm", "priv_SQ.dcm", "reportsi.dcm", "reportsi_with_empty_number_tags.dcm"),
        *(
            "rtplan.dcm",
            "rtstruct.dcm",
            "ExplVR_BigEndNoMeta.dcm",
            "ExplVR_LitEndNoMeta.dcm",
            "test-SR.dcm",
            "waveform_ecg.dcm",
        ),
    ),
    NOTHING,
)


# Which pydicom does not read with the decoders that are installed; another test compares them with dcmtk.
TWELVE_BIT_JPEGS = ("JPEG-lossy.dcm", "JPGExtended.dcm")
FILES = sorted(path.name for path in CARRIED.glob("*.dcm") if path.name not in TWELVE_BIT_JPEGS)


def frames_of(name: str) -> int:
    """Count the frames of a carried file."""
    if name in REFUSED:
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what these files are made to show
        return int(pydicom.dcmread(CARRIED / name, force=True, stop_before_pixels=True).get("NumberOfFrames") or 1)


FRAMES = [(name, frame) for name in FILES for frame in range(1, frames_of(name) + 1)]


def shown(data: bytes, window: Window | None = None, frame: int | None = None) -> Array:
    return np.asarray(decode(data, max_pixels=MANY, window=window, frame=frame).image)


def by_pydicom(file: Dataset, stored: Array) -> Array:
    """Compute the levels of stored values by pydicom's functions alone, before rounding."""
    if file.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, file)
        return np.asarray(stored / (257 if stored.dtype == np.uint16 else 1))
    if file.SamplesPerPixel > 1:
        return np.asarray(stored * (255 / (2**file.BitsStored - 1)))
    values = apply_modality_lut(stored, file)
    levels = (apply_voi_lut(values, file) - (span := output_range(file, values))[0]) * (
        255 / ((span[1] - span[0]) or 1)
    )
    return 255 - levels if file.PhotometricInterpretation == "MONOCHROME1" else np.asarray(levels)


def output_range(file: Dataset, values: Array) -> tuple[float, float]:
    """Return the documented range of apply_voi_lut's results; without a VOI stage the values' own."""
    if file.get("VOILUTSequence"):
        return 0, 2 ** file.VOILUTSequence[0].LUTDescriptor[2] - 1
    if file.get("WindowCenter") is None:
        eight_bits = file.BitsStored <= 8 and not file.PixelRepresentation and "RescaleSlope" not in file
        return (0, 2**file.BitsStored - 1) if eight_bits else (float(values.min()), float(values.max()))
    if file.get("ModalityLUTSequence"):
        return 0, 2 ** file.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    half = 2 ** (file.BitsStored - 1)
    low, high = (-half, half - 1) if file.PixelRepresentation else (0, 2 * half - 1)
    slope, intercept = float(file.get("RescaleSlope", 1)), float(file.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


@pytest.mark.contract("DICOM")
@pytest.mark.filterwarnings("ignore")  # pydicom's, of what these files are made to show
@pytest.mark.parametrize(("name", "frame"), FRAMES)
def test_a_pydicom_sample_file_is_drawn_as_pydicom_draws_it(name: str, frame: int) -> None:
    data = (CARRIED / name).read_bytes()
    if name in REFUSED:
        with pytest.raises(HeatlensError) as refusal:
            decode(data, max_pixels=MANY)
        assert refusal.value.detail == REFUSED[name]
        assert isinstance(refusal.value, InputError)
        return

    file = pydicom.dcmread(CARRIED / name, force=True)
    if "TransferSyntaxUID" not in file.file_meta:
        file.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if "BigEnd" in name else ExplicitVRLittleEndian
    stored = file.pixel_array[frame - 1] if frames_of(name) > 1 else file.pixel_array
    expected = by_pydicom(file, stored)

    if file.get("PixelPaddingValue") is not None and file.get("WindowCenter") is None:  # it is left out of the range
        values = apply_modality_lut(stored, file)
        image = values[stored != file.PixelPaddingValue]
        expected = np.clip((values - image.min()) * (255 / (image.max() - image.min())), 0, 255)
    levels = shown(data, frame=frame)
    assert levels.shape == expected.shape
    assert np.abs(levels - expected).max() <= 0.5 + 1e-6
    if frame == 1:
        assert np.array_equal(levels, shown(data))
    if file.SamplesPerPixel == 1 and file.PhotometricInterpretation != "PALETTE COLOR" and file.BitsStored > 8:
        deep = decode(data, max_pixels=MANY, frame=frame, values=RESCALED).values
        assert deep is not None
        assert np.array_equal(deep[..., 0], apply_modality_lut(stored, file).astype(np.float32))


def test_every_pydicom_sample_file_is_drawn_or_refused_for_a_reason() -> None:
    """The only others are directories and 12-bit JPEGs."""
    assert len(FILES) > 70
    assert set(REFUSED) <= set(FILES)
    assert len(set(FILES) - set(REFUSED)) > 50
    assert {path.name for path in CARRIED.glob("*.dcm")} == {*FILES, *TWELVE_BIT_JPEGS}
    assert {frame for _, frame in FRAMES} >= {1, 2, 3, 10}


VOI: dict[str, dict[str, Any]] = {
    "none": {},
    "a window": {"WindowCenter": 1200, "WindowWidth": 900},
    "the first of two windows": {"WindowCenter": [1200, 40], "WindowWidth": [900, 80]},
    "an exact window": {"WindowCenter": 1200, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
    "a sigmoid": {"WindowCenter": 1200, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    "a narrow window": {"WindowCenter": 1200, "WindowWidth": 1},
    "a table": {"VOILUTSequence": lookup_table(np.arange(4000) ** 2 // 4000, first=50, bits=12)},
    "a table and a window": {
        "VOILUTSequence": lookup_table(4095 - np.arange(3000), first=500, bits=12),
        "WindowCenter": 1200,
        "WindowWidth": 900,
    },
}
MODALITY: dict[str, dict[str, Any]] = {
    "none": {},
    "rescale": {"RescaleSlope": "1", "RescaleIntercept": "-1024"},
    "a fraction": {"RescaleSlope": "0.25", "RescaleIntercept": "900"},
    "turned": {"RescaleSlope": "-1", "RescaleIntercept": "2500"},
    "a table": {"ModalityLUTSequence": lookup_table(np.sqrt(np.arange(4096) * 4096.0), first=0, bits=16)},
    "a table that falls": {"ModalityLUTSequence": lookup_table(np.abs(np.arange(4096) - 1500), first=0, bits=16)},
}


@pytest.mark.contract("DICOM")
@pytest.mark.filterwarnings("ignore:Applying a VOI LUT on a float")
@pytest.mark.parametrize("monochrome", [1, 2])
@pytest.mark.parametrize("voi", list(VOI))
@pytest.mark.parametrize("modality", list(MODALITY))
@pytest.mark.parametrize("pixels", [TWELVE_BITS, SIGNED], ids=["unsigned", "signed"])
def test_the_stages_are_pydicoms(pixels: Array, modality: str, voi: str, monochrome: int) -> None:
    data = dicom(pixels, bits=12, monochrome=monochrome, **MODALITY[modality], **VOI[voi])

    file = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    expected = by_pydicom(file, file.pixel_array)

    assert np.abs(shown(data) - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-6


def test_an_eight_bit_table_may_have_more_than_256_entries() -> None:
    """Written out, because pydicom 3.0 takes the index in the entries' own type and wraps at 256."""
    entries = np.arange(4096) // 16
    data = dicom(TWELVE_BITS, bits=12, VOILUTSequence=lookup_table(entries, first=0, bits=8))

    assert np.array_equal(shown(data), entries[TWELVE_BITS])


def test_values_outside_a_table_get_its_first_or_last_entry() -> None:
    table = lookup_table(np.array([10, 20, 30]), first=101, bits=8)

    assert shown(dicom(np.array([[0, 101, 102, 103, 104, 9999]], "<u2"), VOILUTSequence=table)).tolist() == [
        [10, 10, 20, 30, 30, 30]
    ]


@pytest.mark.parametrize("window", [(1200.0, 900.0), (0.0, 4096.0)])
@pytest.mark.parametrize("voi", list(VOI))
@pytest.mark.parametrize("modality", list(MODALITY))
def test_a_requested_window_equals_the_same_window_in_the_file(modality: str, voi: str, window: Window) -> None:
    file = dicom(TWELVE_BITS, bits=12, **MODALITY[modality], **VOI[voi])
    centre, width = window

    other = dicom(TWELVE_BITS, bits=12, **MODALITY[modality], WindowCenter=centre, WindowWidth=width)

    assert np.array_equal(shown(file, window), shown(other))


def test_without_a_voi_stage_only_grayscale_over_8_bits_is_stretched() -> None:
    assert (shown(dicom(TWELVE_BITS, bits=12)).min(), shown(dicom(TWELVE_BITS, bits=12)).max()) == (0, 255)
    eight = np.array([[20, 30, 40]], "u1")
    assert shown(dicom(eight)).tolist() == [[20, 30, 40]]
    assert shown(dicom(eight, monochrome=1)).tolist() == [[235, 225, 215]]
    assert shown(dicom(eight, RescaleSlope="2", RescaleIntercept="0")).tolist() == [[0, 128, 255]]
    assert shown(dicom(np.array([[0, 7, 15]], "u1"), bits=4)).tolist() == [[0, 119, 255]]


def test_a_constant_image_is_black() -> None:
    assert shown(dicom(np.full((3, 3), 4000, "<u2"))).max() == 0


@pytest.mark.parametrize("monochrome", [1, 2])
def test_padding_is_black_and_excluded_from_the_range(monochrome: int) -> None:
    values = np.array([[-2000, -1999, 100, 200, 300]], "<i2")
    inner = [0, 128, 255] if monochrome == 2 else [255, 128, 0]

    padded = dicom(values, monochrome=monochrome, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1999)

    assert shown(padded).tolist() == [pytest.approx([0, 0, *inner], abs=1)]
    assert shown(dicom(np.full((2, 2), 5, "<u2"), PixelPaddingValue=5)).max() == 0


def test_invalid_windows_are_ignored() -> None:
    plain = shown(dicom(TWELVE_BITS, bits=12))

    for width in (0, -5, 0.5):
        assert np.array_equal(shown(dicom(TWELVE_BITS, bits=12, WindowCenter=40, WindowWidth=width)), plain)
    assert np.array_equal(shown(dicom(TWELVE_BITS, bits=12, WindowCenter=40)), plain)


STAGES = {
    "PixelValueTransformationSequence": sequence(RescaleSlope="2", RescaleIntercept="-100"),
    "FrameVOILUTSequence": sequence(WindowCenter=900, WindowWidth=500),
}


@pytest.mark.parametrize("groups", ["PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"])
def test_an_enhanced_file_has_its_stages_in_groups(groups: str) -> None:
    two_frames = dataset(TWELVE_BITS, bits=12, NumberOfFrames=2)
    two_frames.PixelData = TWELVE_BITS.tobytes() + bytes(TWELVE_BITS.nbytes)
    setattr(two_frames, groups, Sequence([*sequence(**STAGES), *sequence()]))

    classic = dicom(TWELVE_BITS, bits=12, RescaleSlope="2", RescaleIntercept="-100", WindowCenter=900, WindowWidth=500)

    assert np.array_equal(shown(written(two_frames)), shown(classic))


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("pixels", [TWELVE_BITS, SIGNED, COLORS], ids=["unsigned", "signed", "colours"])
def test_every_transfer_syntax_gives_the_same_image(pixels: Array, syntax: UID) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    tags: dict[str, Any] = {"RescaleSlope": "1", "RescaleIntercept": "-5", "PixelPaddingValue": 0}
    tags |= {"PatientComments": "x", "ReferencedImageSequence": sequence(ReferencedFrameNumber=1, **STAGES)}
    made = dataset(pixels.astype(pixels.dtype.newbyteorder(order)), syntax, **(tags if pixels.ndim == 2 else {}))

    plain = dicom(pixels, **(tags if pixels.ndim == 2 else {}))

    assert np.array_equal(shown(written(made)), shown(plain))


@pytest.mark.contract("DICOM")
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("pixels", LARGER, ids=["unsigned", "signed", "colours"])
@pytest.mark.parametrize("frames", [1, 2])
def test_every_lossless_compression_is_the_same_image(pixels: Array, syntax: UID, frames: int) -> None:
    tags: dict[str, Any] = {"NumberOfFrames": frames} if frames > 1 else {}
    made = dataset(pixels, **tags)
    made.PixelData = pixels.tobytes() * frames + bytes(pixels.nbytes * frames % 2)
    compress(made, syntax)

    assert np.array_equal(shown(written(made)), shown(dicom(pixels)))


# No library here writes HTJ2K: these streams are OpenJPH 0.26's, of the pixels beside them.
STREAMS = Path(__file__).parents[3] / "support" / "htj2k"
Y, X = np.mgrid[:32, :40]
STREAMED = {
    "unsigned": ((X * 50 + Y * 37) % 3000).astype("<u2"),
    "signed": ((X * 50 + Y * 37) % 3000 - 1500).astype("<i2"),
    "colours": np.stack([X * 6, Y * 8, (X + Y) * 3], axis=-1).astype("u1"),
}


def of_high_throughput(name: str, syntax: UID, *, cut: int = 0) -> bytes:
    stream = (STREAMS / f"{name}.j2c").read_bytes()
    made = dataset(STREAMED[name], syntax)
    made.PixelData = encapsulate([stream[: len(stream) - cut]])
    made["PixelData"].is_undefined_length = True
    if name == "colours":
        made.PhotometricInterpretation = "YBR_RCT"
    return written(made)


@pytest.mark.contract("DICOM")
@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
@pytest.mark.parametrize("name", STREAMED)
def test_high_throughput_jpeg_2000_is_the_same_image(name: str, syntax: UID) -> None:
    assert np.array_equal(shown(of_high_throughput(name, syntax)), shown(dicom(STREAMED[name])))


def test_rejects_a_truncated_high_throughput_stream() -> None:
    with pytest.raises(UnreadableImage, match="truncated"):
        shown(of_high_throughput("unsigned", HTJ2KLossless, cut=200))


def test_an_extended_offset_table_leads_to_the_first_frame() -> None:
    made = dataset(LARGER[0], NumberOfFrames=2)
    made.PixelData = LARGER[0].tobytes() + bytes(LARGER[0].nbytes)
    compress(made, JPEGLSLossless, encapsulate_ext=True)

    assert "ExtendedOffsetTable" in made
    assert np.array_equal(shown(written(made)), shown(dicom(LARGER[0])))


def test_a_table_has_the_byte_order_of_the_file() -> None:
    entries = np.arange(4096)[::-1]
    table = lookup_table(entries, first=0, bits=12)
    swapped = lookup_table(entries, first=0, bits=12)
    swapped[0].LUTData = entries.astype(">u2").tobytes()

    big = written(dataset(TWELVE_BITS.astype(">u2"), ExplicitVRBigEndian, bits=12, VOILUTSequence=swapped))

    assert np.array_equal(shown(big), shown(dicom(TWELVE_BITS, bits=12, VOILUTSequence=table)))


def test_near_lossless_jpeg_ls_stays_within_its_error() -> None:
    made = dataset(COLORS)
    made.compress(JPEGLSNearLossless, jls_error=3)

    assert 0 < np.abs(shown(written(made)).astype(int) - COLORS).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_of_either_width(bits: int) -> None:
    """Some writers store 8-bit entries in a palette declared as 16 bits wide."""
    entries = GENERATOR.integers(0, 256, (3, 256))
    index = GENERATOR.integers(0, 256, (5, 6)).astype("u1")
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, column in zip(("Red", "Green", "Blue"), entries, strict=True):
        tags[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        data = column.astype("u1") if bits == 8 else column.astype("<u2")
        tags[f"{color}PaletteColorLookupTableData"] = data.tobytes()

    assert np.array_equal(shown(dicom(index, **tags)), np.moveaxis(entries[:, index], 0, -1))


def test_16_bit_colors_keep_their_full_range() -> None:
    deep = COLORS.astype("<u2") * 257

    assert np.array_equal(shown(dicom(deep)), COLORS)


@pytest.mark.parametrize("colors", ["ARGB", "CMYK", "HSV", "YBR_PARTIAL_420", "SOMETHING"])
def test_rejects_other_color_spaces(colors: str) -> None:
    with pytest.raises(UnsupportedImage, match="grayscale, palette, RGB, YBR_FULL are read") as refusal:
        shown(dicom(COLORS, PhotometricInterpretation=colors))

    assert colors not in refusal.value.detail


def test_floats_are_stretched_and_windowed() -> None:
    made = dataset(TWELVE_BITS)
    del made.PixelData
    for tag in ("BitsStored", "HighBit", "PixelRepresentation"):
        del made[tag]
    made.BitsAllocated = 32
    values = np.linspace(-1, 1, TWELVE_BITS.size, dtype="<f4").reshape(TWELVE_BITS.shape)
    made.FloatPixelData = values.tobytes()

    assert np.array_equal(shown(written(made)), np.rint((values.astype(float) + 1) * 127.5))
    assert np.array_equal(shown(written(made), (0, 1)), np.rint(np.clip(values.astype(float) + 0.5, 0, 1) * 255))


def test_a_dicom_picture_is_not_returned_verbatim() -> None:
    picture = decode(dicom(COLORS), max_pixels=MANY)

    assert picture.verbatim is None
    assert picture.image.info == {}
    assert isinstance(picture.image, Image.Image)


def test_rejects_uncompressed_pixels_declared_as_compressed() -> None:
    data = dicom(TWELVE_BITS).replace(ExplicitVRLittleEndian.encode() + b"\0", RLELossless.encode() + b"\0")

    with pytest.raises(UnreadableImage, match="not compressed, though its header says so"):
        shown(data)


NUMBERS = st.floats(-4000, 4000).map(lambda number: round(number, 3))


@st.composite
def grayscale_files(draw: st.DrawFn) -> bytes:
    """Draw a file: bits, sign, color space, transfer syntax, and any modality and VOI stage."""
    bits, signed = draw(st.integers(2, 16)), draw(st.booleans())
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    values = draw(arrays(kind, shape, elements=st.integers(low, high)))
    syntax = draw(st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]))
    tags: dict[str, Any] = {}
    if draw(st.booleans()):
        tags |= {
            "RescaleSlope": str(draw(NUMBERS.filter(lambda n: n not in (0, 1)))),
            "RescaleIntercept": str(draw(NUMBERS)),
        }
    if draw(st.booleans()):
        tags |= {"WindowCenter": str(draw(NUMBERS)), "WindowWidth": str(draw(NUMBERS.filter(lambda n: n > 1.001)))}
        tags |= {"VOILUTFunction": draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))}
    if syntax == ExplicitVRBigEndian:
        values = values.astype(values.dtype.newbyteorder(">"))
    native = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    made = dataset(values, native, monochrome=draw(st.sampled_from([1, 2])), bits=bits, **tags)
    if syntax == RLELossless:
        compress(made, RLELossless)
    return written(made)


@pytest.mark.filterwarnings("ignore")  # pydicom's, of stages on floats and of numbers with many digits
@given(grayscale_files())
@settings(max_examples=150, deadline=None)
def test_any_grayscale_file_is_drawn_as_pydicom_draws_it(data: bytes) -> None:
    file = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    expected = by_pydicom(file, file.pixel_array)

    assert np.abs(shown(data) - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-4

"""One frame of a DICOM file with several: its pixels, its own stages, and no work for the others."""

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.sequence import Sequence
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

from heatlens.errors import NoSuchFrame, UnreadableImage, UnsupportedImage
from heatlens.input.decode import decode, measure
from tests.support.dicom import Array, compress, dataset, dicom, sequence, written
from tests.support.images import encoded

MANY = 10_000_000
GENERATOR = np.random.default_rng(4)
FRAMES = 3
GRAY = GENERATOR.integers(100, 3000, (FRAMES, 40, 50)).astype("<u2")
SIGNED = GENERATOR.integers(-2000, 2000, (FRAMES, 40, 50)).astype("<i2")
COLORS = GENERATOR.integers(0, 256, (FRAMES, 40, 50, 3)).astype("u1")
ODD = GENERATOR.integers(0, 256, (FRAMES, 5, 7)).astype("u1")
NUMBERS = range(1, FRAMES + 1)


def shown(data: bytes, frame: int | None = None) -> Array:
    return np.asarray(decode(data, max_pixels=MANY, frame=frame).image)


def film(frames: Array, syntax: UID = ExplicitVRLittleEndian, **tags: Any) -> Dataset:  # noqa: ANN401 - any element
    made = dataset(frames[0], syntax, NumberOfFrames=len(frames), **tags)
    made.PixelData = frames.tobytes() + bytes(frames.nbytes % 2)
    return made


@pytest.mark.parametrize("frame", NUMBERS)
@pytest.mark.parametrize("frames", [GRAY, SIGNED, COLORS, ODD], ids=["unsigned", "signed", "colors", "odd"])
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_a_frame_is_the_image_that_it_would_be_alone(frames: Array, syntax: UID, frame: int) -> None:
    stored = frames.astype(frames.dtype.newbyteorder(">")) if syntax == ExplicitVRBigEndian else frames

    assert np.array_equal(shown(written(film(stored, syntax)), frame), shown(dicom(frames[frame - 1])))


@pytest.mark.parametrize("frame", NUMBERS)
@pytest.mark.parametrize("table", ["offsets", "extended offsets", "none"])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_compressed_frame_is_found_with_any_table(syntax: UID, table: str, frame: int) -> None:
    made = film(GRAY)
    compress(made, syntax, encapsulate_ext=table == "extended offsets")
    if table == "none":
        made.PixelData = without_offsets(made.PixelData)

    assert ("ExtendedOffsetTable" in made) == (table == "extended offsets")
    assert np.array_equal(shown(written(made), frame), shown(dicom(GRAY[frame - 1])))


def without_offsets(encapsulated: bytes) -> bytes:
    """Empty the basic offset table, as many writers do."""
    length = int.from_bytes(encapsulated[4:8], "little")
    assert length == 4 * FRAMES
    return encapsulated[:4] + bytes(4) + encapsulated[8 + length :]


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("has_offsets", [False, True])
def test_a_jpeg_frame_may_lie_in_several_fragments(fragments: int, has_offsets: bool) -> None:  # noqa: FBT001
    streams = []
    for frame in COLORS[..., 0]:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG")
        streams.append(buffer.getvalue())
    made = film(COLORS[..., 0])
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PixelData = encapsulate(streams, fragments_per_frame=fragments, has_bot=has_offsets)
    made["PixelData"].is_undefined_length = True

    for frame in NUMBERS:
        with Image.open(io.BytesIO(streams[frame - 1])) as alone:
            assert np.array_equal(shown(written(made), frame), np.asarray(alone))


@pytest.mark.parametrize("side", [8, 5])
def test_a_frame_of_single_bits_may_begin_within_a_byte(side: int) -> None:
    bits = GENERATOR.integers(0, 2, (FRAMES, side, 3)).astype("u1")
    made = film(bits, BitsAllocated=1, BitsStored=1, HighBit=0)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    made.PixelData = packed + bytes(len(packed) % 2)

    for frame in NUMBERS:
        assert np.array_equal(shown(written(made), frame), bits[frame - 1] * 255)


def test_a_frame_of_floats() -> None:
    floats = GENERATOR.normal(size=(FRAMES, 6, 8)).astype("<f4")
    made = film(floats)
    del made["PixelData"]
    made.FloatPixelData = floats.tobytes()

    for frame in NUMBERS:
        alone = film(floats[frame - 1 : frame])
        del alone["PixelData"]
        alone.FloatPixelData = floats[frame - 1].tobytes()
        assert np.array_equal(shown(written(made), frame), shown(written(alone)))


def test_without_a_number_the_first_frame_is_read() -> None:
    data = written(film(GRAY))

    assert np.array_equal(shown(data), shown(data, 1))
    assert [decode(data, max_pixels=MANY, frame=frame).frame for frame in (None, 1, 3)] == [1, 1, 3]
    assert decode(dicom(GRAY[0]), max_pixels=MANY, frame=1).frame is None


def stages(slope: int, center: int) -> Dataset:
    [item] = sequence(
        PixelValueTransformationSequence=sequence(RescaleSlope=str(slope), RescaleIntercept="-100"),
        FrameVOILUTSequence=sequence(WindowCenter=center, WindowWidth=500),
    )
    return item


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_frame_has_the_stages_of_its_own_group(syntax: UID, undefined: bool) -> None:  # noqa: FBT001
    groups = Sequence([stages(slope, 900 * slope) for slope in NUMBERS])
    made = film(GRAY, syntax, PerFrameFunctionalGroupsSequence=groups)
    made["PerFrameFunctionalGroupsSequence"].is_undefined_length = undefined
    for group in groups:
        group.is_undefined_length_sequence_item = undefined

    for frame in NUMBERS:
        alone = dicom(
            GRAY[frame - 1],
            RescaleSlope=str(frame),
            RescaleIntercept="-100",
            WindowCenter=900 * frame,
            WindowWidth=500,
        )
        assert np.array_equal(shown(written(made), frame), shown(alone))


def test_a_group_of_all_frames_counts_where_the_frame_has_none() -> None:
    shared = Sequence([stages(2, 900)])
    made = film(
        GRAY, SharedFunctionalGroupsSequence=shared, PerFrameFunctionalGroupsSequence=Sequence([Dataset()] * FRAMES)
    )
    alone = dicom(GRAY[2], RescaleSlope="2", RescaleIntercept="-100", WindowCenter=900, WindowWidth=500)

    assert np.array_equal(shown(written(made), 3), shown(alone))


def test_a_frame_without_a_group_of_its_own_is_refused() -> None:
    made = film(GRAY, PerFrameFunctionalGroupsSequence=Sequence([stages(1, 900), stages(2, 900)]))

    shown(written(made), 2)
    with pytest.raises(UnreadableImage, match="PerFrameFunctionalGroupsSequence has fewer items than frames"):
        shown(written(made), 3)


def test_a_frame_that_is_not_there_is_refused() -> None:
    with pytest.raises(NoSuchFrame, match="has 3 frames, and no frame 4: give one from 1 to 3") as refused:
        shown(written(film(GRAY)), 4)
    assert refused.value.code == "input.frame"
    for data in (dicom(GRAY[0]), dicom(GRAY[0], PerFrameFunctionalGroupsSequence=Sequence())):
        with pytest.raises(NoSuchFrame, match="has 1 frame, and no frame 2: leave frame out"):
            shown(data, 2)


def test_a_negative_number_of_frames_is_damage() -> None:
    made = film(GRAY)
    made.NumberOfFrames = -2

    with pytest.raises(UnreadableImage, match="truncated or damaged"):
        shown(written(made), 1)


def test_the_last_frame_is_found_where_the_first_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of undefined length are walked through twice: the limit of elements is that of one walk."""
    count = 100
    groups = Sequence([stages(1, 900) for _ in range(count)])
    made = film(np.zeros((count, 2, 2), "u1"), PerFrameFunctionalGroupsSequence=groups)
    made["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    for group in groups:
        group.is_undefined_length_sequence_item = True
    data = written(made)

    def is_read(frame: int, limit: int) -> bool:
        monkeypatch.setattr("heatlens.input.dicom.parse._MAX_ELEMENTS", limit)
        try:
            shown(data, frame)
        except UnreadableImage:
            return False
        return True

    least = next(limit for limit in range(count, 100 * count, 10) if is_read(1, limit))
    assert is_read(count, least)


def test_other_images_have_no_frames_to_choose_from() -> None:
    with pytest.raises(NoSuchFrame, match="only DICOM has frames to choose from"):
        shown(encoded(Image.fromarray(COLORS[0])), 1)
    with pytest.raises(UnsupportedImage, match="the bytes are not an image"):
        shown(b"text", 1)


@pytest.mark.parametrize("frame", [None, 1, 250])
def test_a_films_memory_is_that_of_one_frame(frame: int | None) -> None:
    frames = np.zeros((250, 200, 200), "u1")
    frames[:, 3, 4] = 1 + np.arange(250)
    data = written(film(frames))
    shown(data)

    tracemalloc.start()
    shown(data, frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    one = frames[0].nbytes
    assert len(data) > 240 * one
    assert peak < 15 * one


def test_no_other_frame_is_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = film(np.repeat(GRAY, 10, axis=0))
    compress(made, JPEGLSLossless)
    decoded: list[int] = []
    decode_frame = DecodeRunner._decode_frame

    def counted(self: DecodeRunner, stream: bytes) -> bytes | bytearray:
        decoded.append(len(stream))
        return decode_frame(self, stream)

    monkeypatch.setattr(DecodeRunner, "_decode_frame", counted)
    shown(written(made), 21)

    assert len(decoded) == 1


def test_an_image_is_measured_by_one_frame() -> None:
    assert measure(written(film(GRAY)), max_pixels=2000) == 2000

import io

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from heatlens.errors import UnreadableImage
from heatlens.input import jpeg as jpeg_module
from heatlens.input.decode import decode
from heatlens.input.jpeg import check_scans, check_whole, with_end
from heatlens.input.jpeg_structure import END_OF_IMAGE, read_structure
from tests.support.dicom import dataset, written
from tests.support.images import encoded, noise

SCAN = b"\xff\xda"


@pytest.mark.parametrize(
    ("pixels", "most"), [(1, 100), (20_000_000, 100), (25_000_000, 80), (100_000_000, 20), (10**10, 1)]
)
def test_the_scans_of_a_large_jpeg_are_limited_by_its_pixels(pixels: int, most: int) -> None:
    check_scans(SCAN * most, pixels)
    with pytest.raises(UnreadableImage, match=f"more than {min(most, 2 * 10**9 // pixels)} scans, which no picture"):
        check_scans(SCAN * (most + 1), pixels)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_lacks_only_its_end_is_read(mode: str, *, progressive: bool) -> None:
    data = encoded(noise((61, 47), mode), "JPEG", quality=90, progressive=progressive)

    for cut in (data[:-2], data[:-1]):
        picture = decode(cut, max_pixels=10_000)
        assert np.array_equal(np.asarray(picture.image), np.asarray(decode(data, max_pixels=10_000).image))
        assert picture.verbatim == "image/jpeg"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_pixels_is_refused(*, progressive: bool) -> None:
    data = encoded(noise((61, 47)), "JPEG", quality=90, progressive=progressive)

    for lost in (12, 40, 100, len(data) // 4):
        with pytest.raises(UnreadableImage, match="truncated"):
            decode(data[:-lost], max_pixels=10_000)


GRADIENT = Image.linear_gradient("L")
PICTURES = {
    "noise": noise((61, 47)),
    "smooth": Image.merge("RGB", (GRADIENT, GRADIENT.rotate(90), GRADIENT.rotate(180))).resize((70, 50)),
    "gray": noise((61, 47), "L"),
    "CMYK": noise((61, 47)).convert("CMYK"),
    "one block": noise((7, 5)),
    "middle gray": Image.new("RGB", (61, 47), (128, 128, 128)),
    "white": Image.new("L", (61, 47), 255),
}
WRITTEN: dict[str, dict[str, object]] = {
    "4:2:0": {"subsampling": 2},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts by row": {"restart_marker_rows": 1},
    "restarts by 3 units": {"restart_marker_blocks": 3},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 3},
}
EACH = pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(picture, "JPEG", quality=90, **options), id=f"{name} {kind}")
        for name, picture in PICTURES.items()
        for kind, options in WRITTEN.items()
        if "subsampling" not in options or picture.mode == "RGB"
    ],
)


def closed_early(data: bytes, lost: int) -> bytes:
    return data[: -len(END_OF_IMAGE) - lost] + END_OF_IMAGE


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


@EACH
def test_a_jpeg_that_was_cut_and_closed_is_refused(data: bytes) -> None:
    structure = read_structure(data)
    assert structure is not None
    size = structure.scans[-1].stop - structure.scans[-1].start
    whole = pixels(data)

    for lost in sorted({2, 3, 5, 8, 13, 40, *range(1, size, max(1, size // 20))} & set(range(size))):
        cut = closed_early(data, lost)
        if pixels(cut) != whole:
            with pytest.raises(UnreadableImage, match="the JPEG is truncated: its data ends before its last pixel"):
                decode(cut, max_pixels=10_000)


@EACH
def test_a_whole_jpeg_is_read_whatever_follows_its_end(data: bytes) -> None:
    whole = pixels(data)

    for behind in (b"", b"\0" * 100, END_OF_IMAGE, b"\xff", b"garbage\xff\xda", data):
        check_whole(data + behind, Image.open(io.BytesIO(data + behind)))
        assert pixels(with_end(data[:-2])) == whole
    decode(data, max_pixels=10_000)


def test_a_progressive_jpeg_that_was_closed_between_its_scans_is_refused() -> None:
    data = encoded(noise((61, 47)), "JPEG", quality=90, progressive=True)
    structure = read_structure(data)
    assert structure is not None

    for scan in structure.scans[:-1]:
        with pytest.raises(UnreadableImage, match="truncated"):
            decode(data[: scan.stop] + END_OF_IMAGE, max_pixels=10_000)


def test_a_scan_that_lacks_its_last_restarts_is_refused() -> None:
    data = encoded(noise((61, 47)), "JPEG", progressive=True, restart_marker_blocks=3)
    last = max(data.rfind(bytes((0xFF, number))) for number in range(0xD0, 0xD8))

    with pytest.raises(UnreadableImage, match="truncated"):
        decode(data[:last] + END_OF_IMAGE, max_pixels=10_000)


@pytest.mark.parametrize("lost", [3, 500, 5000])
def test_a_dicom_frame_that_was_cut_and_closed_is_refused(lost: int) -> None:
    frame = encoded(noise((100, 80)), "JPEG", quality=90)
    made = dataset(np.asarray(noise((100, 80))), JPEGBaseline8Bit)
    whole, cut = (jpeg_dicom(made, jpeg) for jpeg in (frame, closed_early(frame, lost)))

    decode(whole, max_pixels=10_000)
    with pytest.raises(UnreadableImage, match="the JPEG is truncated"):
        decode(cut, max_pixels=10_000)


def jpeg_dicom(made: Dataset, frame: bytes) -> bytes:
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    return written(made)


def test_a_whole_baseline_jpeg_is_not_decoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at an eighth of its size is enough, with restarts at the last of them."""
    monkeypatch.setattr("heatlens.input.jpeg._are_equal", lambda *_: pytest.fail("decoded"))
    sizes: list[tuple[int, int]] = []
    opened = jpeg_module._opened

    def noted(data: bytes) -> Image.Image:
        sizes.append((image := opened(data)).size)
        return image

    monkeypatch.setattr(jpeg_module, "_opened", noted)

    decode(encoded(noise((64, 48)), "JPEG", subsampling=2), max_pixels=10_000)
    decode(encoded(noise((64, 48)), "JPEG", subsampling=2, restart_marker_rows=1), max_pixels=10_000)

    assert sizes == [(64, 64), (64, 32)]  # 3 rows of units and one more; 1 row and one more


def test_a_phone_photo_with_a_second_picture_is_checked() -> None:
    """Its format is MPO; the first picture is read."""
    data = encoded(noise((61, 47)), "MPO", save_all=True, append_images=[noise((61, 47), seed=1)])
    structure = read_structure(data)
    assert structure is not None
    stop = structure.scans[-1].stop

    decode(data, max_pixels=10_000)
    with pytest.raises(UnreadableImage, match="the JPEG is truncated"):
        decode(data[: stop - 100] + data[stop:], max_pixels=10_000)

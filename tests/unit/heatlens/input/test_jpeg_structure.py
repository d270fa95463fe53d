import pytest

from heatlens.errors import UnreadableImage
from heatlens.input.jpeg_structure import END_OF_IMAGE, PROGRESSIVE, read_structure
from tests.support.images import encoded, noise


def test_a_baseline_jpeg_has_one_scan_of_all_components() -> None:
    data = encoded(noise((61, 47)), "JPEG", subsampling=2)

    structure = read_structure(data)

    assert structure is not None
    assert (structure.frame.width, structure.frame.height) == (61, 47)
    assert list(structure.frame.components.values()) == [(2, 2), (1, 1), (1, 1)]
    [scan] = structure.scans
    assert scan.components == (1, 2, 3)
    assert data[scan.stop :] == END_OF_IMAGE
    assert structure.head[-1][2] == scan.start


def test_a_progressive_jpeg_has_scans_down_to_the_last_bit() -> None:
    structure = read_structure(encoded(noise((61, 47)), "JPEG", progressive=True))

    assert structure is not None
    assert structure.frame.marker == PROGRESSIVE
    assert len(structure.scans) == 10
    assert {scan.low_bit for scan in structure.scans} == {0, 1, 2}


def test_restarts_do_not_end_a_scan() -> None:
    data = encoded(noise((61, 47)), "JPEG", restart_marker_blocks=2)

    structure = read_structure(data)

    assert structure is not None
    [scan] = structure.scans
    assert scan.interval == 2
    assert data[scan.stop :] == END_OF_IMAGE


def test_a_thumbnail_within_metadata_is_skipped() -> None:
    data = encoded(noise((61, 47)), "JPEG")
    thumbnail = encoded(noise((8, 8)), "JPEG")
    exif = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail

    structure = read_structure(data[:2] + exif + data[2:])

    assert structure is not None
    assert (structure.frame.width, len(structure.scans)) == (61, 1)


def test_a_file_that_ends_within_its_headers_has_no_structure() -> None:
    data = encoded(noise((61, 47)), "JPEG")
    start = data.index(b"\xff\xda")

    assert [read_structure(data[:stop]) for stop in range(2, start + 4)] == [None] * (start + 2)


def test_the_number_of_segments_is_limited() -> None:
    comment = b"\xff\xfe\0\2"

    with pytest.raises(UnreadableImage, match="more than 100,000 segments"):
        read_structure(b"\xff\xd8" + comment * 100_001)


def test_fill_bytes_take_linear_time() -> None:
    assert read_structure(b"\xff\xd8" + b"\xff" * 5_000_000 + b"\0") is None

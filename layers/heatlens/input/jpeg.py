"""Check a JPEG before it is decoded, as a file or as a frame within DICOM.

libjpeg fills whatever is missing at the end of a scan with gray or with the pixels of earlier scans, and reports
nothing that Pillow passes on.
"""

import io
import struct

from PIL import Image, ImageChops

from heatlens.errors import UnreadableImage
from heatlens.input.jpeg_structure import (
    END_OF_IMAGE,
    PROGRESSIVE,
    RESTART,
    SEQUENTIAL,
    Frame,
    Scan,
    Structure,
    read_structure,
)

TRUNCATED = "the JPEG is truncated: its data ends before its last pixel"
_START_OF_SCAN = b"\xff\xda"  # within a scan 0xFF is always followed by something else
_MAX_SCANS = 100  # a real progressive JPEG has a dozen; each costs a pass over all pixels
_MAX_PASSED_PIXELS = 2_000_000_000  # of all scans together: 20 of 100 megapixels, seconds of work
_HUFFMAN = frozenset({*SEQUENTIAL, PROGRESSIVE})
_COEFFICIENTS = 64
_BLOCK = 8  # pixels
_COLOR_SEGMENTS = frozenset({0xE0, 0xEE})  # JFIF and Adobe: how the components are colors
_OTHER_SEGMENTS = frozenset({*range(0xE0, 0xF0), 0xFE, 0xDD})  # applications, comments, restart interval
_FILLER = b"\xaa" * 256  # bits in place of missing data, for which libjpeg takes zeros
_BLANK = range(126, 130)  # samples of a block without data, in any color space
_BAND_PIXELS = 250_000


def check_scans(jpeg: bytes, pixels: int) -> None:
    """Refuse a JPEG that would take minutes to decode.

    Args:
        jpeg: The file.
        pixels: Of its image.

    Raises:
        UnreadableImage: It has more scans than any real picture of its size.
    """
    scans = jpeg.count(_START_OF_SCAN)
    if scans > _MAX_SCANS or (scans > 1 and scans * pixels > _MAX_PASSED_PIXELS):
        most = min(_MAX_SCANS, _MAX_PASSED_PIXELS // pixels)
        raise UnreadableImage(f"the JPEG has more than {most} scans, which no picture of its size needs")


def with_end(jpeg: bytes) -> bytes:
    """Add the end of image to a JPEG that lacks it; `check_whole` finds whether it lacks more.

    Raises:
        UnreadableImage: It has more segments than any real picture.
    """
    structure = read_structure(jpeg)
    if structure is None or jpeg.find(END_OF_IMAGE, structure.scans[-1].stop) >= 0:
        return jpeg
    return jpeg[: structure.scans[-1].stop] + END_OF_IMAGE


def check_whole(jpeg: bytes, image: Image.Image) -> None:
    """Refuse a JPEG whose scans end early; of arithmetic coding none is checked.

    Args:
        jpeg: The file, with its end.
        image: It, opened. Its pixels are loaded only where the answer depends on them.

    Raises:
        UnreadableImage: It is truncated.
        Exception: Any error of Pillow where the pixels are loaded.
    """
    structure = read_structure(jpeg)
    if structure is None or structure.frame.marker not in _HUFFMAN:
        return
    if not _has_all_scans(structure) or not _has_all_restarts(jpeg, structure):
        raise UnreadableImage(TRUNCATED)
    if structure.frame.marker in SEQUENTIAL and len(structure.scans) == 1 and _goes_on(jpeg, structure):
        return
    stop = structure.scans[-1].stop
    image.load()
    with _opened(jpeg[:stop] + _FILLER + END_OF_IMAGE) as filled:
        if not _are_equal(filled, image):
            raise UnreadableImage(TRUNCATED)


def _has_all_scans(structure: Structure) -> bool:
    """Whether every component has its coefficients, and those that it has to their last bit.

    A writer may leave out high frequencies that are all zero, but neither all of them nor the lowest.
    """
    lowest: dict[int, dict[int, int]] = {component: {} for component in structure.frame.components}
    progressive = structure.frame.marker == PROGRESSIVE
    for scan in structure.scans:
        bits = range(scan.first, scan.last + 1) if progressive else range(_COEFFICIENTS)
        for component in scan.components:
            lowest.setdefault(component, {}).update(dict.fromkeys(bits, scan.low_bit if progressive else 0))
    return all(0 in sent and len(sent) > 1 and not any(sent.values()) for sent in lowest.values())


def _has_all_restarts(jpeg: bytes, structure: Structure) -> bool:
    return all(
        len(_restarts(jpeg, scan)) >= _intervals(structure.frame, scan) - 1 for scan in structure.scans if scan.interval
    )


def _restarts(jpeg: bytes, scan: Scan) -> list[int]:
    """Find the restart markers within a scan's data, from its start."""
    return [found.start() for found in RESTART.finditer(jpeg[scan.start : scan.stop])] if scan.interval else []


def _intervals(frame: Frame, scan: Scan) -> int:
    columns, rows = _units(frame, scan)
    return -(-columns * rows // scan.interval) if scan.interval else 1


def _units(frame: Frame, scan: Scan) -> tuple[int, int]:
    """Count what a scan repeats: blocks of its only component, or units of all components (A.2.2, A.2.3)."""
    across, down = _unit(frame)
    if len(scan.components) > 1:
        return -(-frame.width // across), -(-frame.height // down)
    factors = frame.components.get(scan.components[0], (1, 1))
    return -(-frame.width * factors[0] // across), -(-frame.height * factors[1] // down)


def _unit(frame: Frame) -> tuple[int, int]:
    across, down = (max(factors) for factors in zip(*frame.components.values(), strict=True))
    return _BLOCK * across, _BLOCK * down


def _goes_on(jpeg: bytes, structure: Structure) -> bool:
    """Whether the only scan of a sequential JPEG has data for all its pixels, as far as one quick look can tell.

    What follows the last restart is decoded at an eighth of its size, as a picture that has more units than are left.
    Behind the end of the data libjpeg leaves units blank, except the one that it has begun, with bits of 0. So if the
    first unit too many is not blank, nothing before it is missing; if it is blank, it may be so by chance.
    """
    frame, [scan] = structure.frame, structure.scans
    (columns, rows), (across, down) = _units(frame, scan), _side(frame)
    restarts, count = _restarts(jpeg, scan), _intervals(frame, scan) - 1
    start, stop = ([-2, *restarts][count] + 2, [*restarts, scan.stop - scan.start][count])
    left = columns * rows - count * scan.interval
    size = struct.pack(">HH", (left // columns + 1) * down, columns * across)
    data = jpeg[scan.start + start : scan.start + stop]
    try:
        with _opened(_head(jpeg, structure, size) + data + END_OF_IMAGE) as image:
            image.draft("L", (1, 1))
            x, y = left % columns * across // _BLOCK, left // columns * down // _BLOCK
            behind = image.crop((x, y, x + across // _BLOCK, y + down // _BLOCK))
            return any(value not in _BLANK for value in set(behind.tobytes()))
    except (OSError, SyntaxError, ValueError):
        return False


def _side(frame: Frame) -> tuple[int, int]:
    """Return width and height of a unit in pixels; of one component it is a block, whatever its factors are."""
    return (_BLOCK, _BLOCK) if len(frame.components) == 1 else _unit(frame)


def _head(jpeg: bytes, structure: Structure, size: bytes) -> bytes:
    """Return what precedes the data of the scan, with another size, and without restarts and metadata."""
    height_at, parts = structure.frame.height_at, [b"\xff\xd8"]
    for marker, start, stop in structure.head:
        if start < height_at < stop:
            parts += [jpeg[start:height_at], size, jpeg[height_at + len(size) : stop]]
        elif marker in _COLOR_SEGMENTS or marker not in _OTHER_SEGMENTS:
            parts.append(jpeg[start:stop])
    return b"".join(parts)


def _opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg), formats=["JPEG"])


def _are_equal(first: Image.Image, second: Image.Image) -> bool:
    """Compare pixels in bands of rows: whole, their difference would take as much memory again."""
    rows = max(1, _BAND_PIXELS // first.width)
    bands = [(0, top, first.width, min(top + rows, first.height)) for top in range(0, first.height, rows)]
    return not any(ImageChops.difference(first.crop(band), second.crop(band)).getbbox() for band in bands)

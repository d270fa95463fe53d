"""Read where the scans of a JPEG are and what they contain (ITU-T T.81 annex B), without decoding one."""

import re
import struct
from dataclasses import dataclass

from heatlens.errors import UnreadableImage

SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
END_OF_IMAGE = b"\xff\xd9"
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END, _RESTART_INTERVAL, _FILL = 0xDA, 0xD9, 0xDD, 0xFF
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_MARKER = re.compile(rb"\xff([^\x00\xff])")  # also what ends a scan
_MARKER_BUT_RESTART = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what ends a scan with restarts
_MAX_SEGMENTS = 100_000  # takes 0.1 s; a picture of 100 megapixels with all its metadata has a hundredth of them


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's header: its marker, where its height is, its size, and each component's sampling factors."""

    marker: int
    height_at: int
    height: int
    width: int
    components: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan: its components, first and last coefficient, bits left for later scans, and where its data is."""

    components: tuple[int, ...]
    first: int
    last: int
    low_bit: int
    interval: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Structure:
    """A frame, its scans, and the segments `(marker, start, stop)` before the first scan."""

    frame: Frame
    scans: tuple[Scan, ...]
    head: tuple[tuple[int, int, int], ...]


def read_structure(jpeg: bytes) -> Structure | None:
    """Read a JPEG up to its first end of image, or to the end of the file.

    Returns:
        Its structure; `None` if the file ends before a frame and a scan.

    Raises:
        UnreadableImage: It has more segments than any real picture.
    """
    frame, scans, head, interval, at, left = None, [], [], 0, 2, _MAX_SEGMENTS
    try:
        while (found := _MARKER.search(jpeg, at)) and (marker := found[1][0]) != _END:
            start, at, left = found.start(), found.end(), left - 1
            if left < 0:
                raise UnreadableImage(f"the JPEG has more than {_MAX_SEGMENTS:,} segments, which no picture needs")
            if marker in _WITHOUT_LENGTH:
                continue
            at += struct.unpack_from(">H", jpeg, at)[0]
            if marker in _FRAMES:
                frame = _frame(jpeg, marker, start)
            elif marker == _RESTART_INTERVAL:
                (interval,) = struct.unpack_from(">H", jpeg, start + 4)
            elif marker == _START_OF_SCAN:
                scans.append(_scan(jpeg, start, at, interval))
                at = scans[-1].stop
            if len(scans) <= 1 and (not scans or marker == _START_OF_SCAN):
                head.append((marker, start, scans[-1].start if scans else at))
    except (struct.error, IndexError):  # the file ends within a header
        pass
    return Structure(frame, tuple(scans), tuple(head)) if frame and scans else None


def _frame(jpeg: bytes, marker: int, start: int) -> Frame:
    height, width, count = struct.unpack_from(">HHB", jpeg, start + 5)
    places = range(start + 10, start + 10 + 3 * count, 3)
    components = {jpeg[at]: (jpeg[at + 1] >> 4, jpeg[at + 1] & 15) for at in places}
    return Frame(marker, start + 5, height, width, components)


def _scan(jpeg: bytes, start: int, data: int, interval: int) -> Scan:
    count = jpeg[start + 4]
    components = tuple(jpeg[start + 5 + 2 * number] for number in range(count))
    first, last, bits = struct.unpack_from("3B", jpeg, start + 5 + 2 * count)
    end = (_MARKER_BUT_RESTART if interval else _MARKER).search(jpeg, data)
    stop = end.start() if end else len(jpeg)
    if jpeg[stop - 1] == _FILL:
        stop = data + len(jpeg[data:stop].rstrip(bytes((_FILL,))))
    return Scan(components, first, last, bits & 15, interval, data, stop)

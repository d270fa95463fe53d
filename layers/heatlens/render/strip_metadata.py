"""Remove the metadata of a JPEG or PNG file without encoding its pixels again."""

import io
import struct

from PIL import Image

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"

# Markers by their second byte (ITU-T T.81, table B.1). Others are application data, comments, or unknown.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC8}  # SOF, with DHT (C4) and DAC (CC) among them
_KEPT = _FRAMES | {0xDB, 0xDC, 0xDD, 0xDE, 0xDF}  # DQT, DNL, DRI, DHP, EXP
_JFIF, _ADOBE, _SCAN, _END = 0xE0, 0xEE, 0xDA, 0xD9
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}  # RST and TEM have no length
_JFIF_BYTES, _ADOBE_BYTES = 12, 12  # up to the size of a thumbnail; version, flags and transform

# Pixels and how their values are shown; profiles, text, times and other chunks are dropped.
_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"sBIT"})


def strip_metadata(data: bytes) -> bytes | None:
    """Remove EXIF, XMP, IPTC, ICC profiles, comments, text, times, thumbnails, and all bytes after the image.

    Args:
        data: A JPEG or PNG that could be decoded.

    Returns:
        The file with the same compressed pixels; `None` where it cannot be parsed, or decodes to other pixels, because
        a damaged file is read in another way than here.
    """
    try:
        stripped = _jpeg(data) if data.startswith(_JPEG_START) else _png(data)
    except (IndexError, ValueError, struct.error):
        return None
    return stripped if stripped and _same_pixels(data, stripped) else None


def _same_pixels(data: bytes, stripped: bytes) -> bool:
    """Compare what a decoder makes of both files."""
    try:
        return _shown(data) == _shown(stripped)
    except MemoryError:
        raise
    # Decoders raise whatever their format's parser meets.
    except Exception:
        return False


def _shown(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
        image.load()
        shown = image.convert("RGBA") if image.mode == "P" or image.has_transparency_data else image
        return shown.mode, shown.size, shown.tobytes()


def _png(data: bytes) -> bytes | None:
    kept, at, kind = [_PNG_START], len(_PNG_START), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        stop = at + length + 12
        if stop > len(data):
            return None
        if kind in _CHUNKS:
            kept.append(data[at:stop])
        at = stop
    return b"".join(kept)


def _jpeg(data: bytes) -> bytes | None:
    kept, at = [_JPEG_START], len(_JPEG_START)
    while True:
        at = data.index(0xFF, at)  # decoders skip bytes between segments
        while data[at] == 0xFF:
            at += 1
        marker, at = data[at], at + 1
        if marker == _END:
            return b"".join([*kept, bytes((0xFF, _END))])
        if marker in _ALONE or marker == 0:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        body, at = data[at + 2 : at + length], at + length
        if marker == _SCAN:
            stop = _scan_end(data, at)
            kept += [_segment(marker, body), data[at:stop]]
            at = stop
        elif (needed := _needed_part(marker, body)) is not None:
            kept.append(_segment(marker, needed))


def _needed_part(marker: int, body: bytes) -> bytes | None:
    """Return the part of a segment that decoders need; `None` for nothing."""
    if marker in _KEPT:
        return body
    if marker == _JFIF and body.startswith(b"JFIF\0"):
        return body[:_JFIF_BYTES] + bytes(2)  # without a thumbnail
    if marker == _ADOBE and body.startswith(b"Adobe"):
        return body[:_ADOBE_BYTES]
    return None


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(body) + 2) + body


def _scan_end(data: bytes, at: int) -> int:
    """Find the end of entropy-coded data: a marker that is neither a restart nor a 0xFF of the data itself."""
    while True:
        at = data.index(0xFF, at)
        follows = data[at + 1]
        if follows != 0 and follows != 0xFF and follows not in _ALONE:
            return at
        at += 1 if follows == 0xFF else 2

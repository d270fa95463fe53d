"""Check a JPEG before it is decoded, as a file or as a frame within DICOM."""

import io

from PIL import Image

from heatlens.errors import UnreadableImage

_START_OF_SCAN = b"\xff\xda"  # within a scan 0xFF is always followed by something else
_END_OF_IMAGE = b"\xff\xd9"
_FILLED_BYTES = 256  # of two patterns of bits, in place of missing data
_MAX_SCANS = 100  # a real progressive JPEG has a dozen; each costs a pass over all pixels
_MAX_PASSED_PIXELS = 2_000_000_000  # of all scans together: 20 of 100 megapixels, seconds of work


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
    """Add the end of image to a JPEG that lacks only that.

    A decoder fills whatever pixels are missing from the bits that follow. Where other bits give other pixels, some are
    missing: then the file is returned as it is, and cannot be decoded to its end.
    """
    if jpeg.rfind(_END_OF_IMAGE) > jpeg.rfind(_START_OF_SCAN):
        return jpeg
    body = jpeg.rstrip(b"\xff")  # perhaps the first byte of the end
    first, second = (_decoded(body + filler * _FILLED_BYTES + _END_OF_IMAGE) for filler in (b"\x55", b"\xaa"))
    return body + _END_OF_IMAGE if first == second else jpeg


def _decoded(jpeg: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return jpeg  # no two are equal

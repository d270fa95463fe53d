"""Check a JPEG before it is decoded, as a file or as a frame within DICOM."""

from heatlens.errors import UnreadableImage

_START_OF_SCAN = b"\xff\xda"  # within a scan 0xFF is always followed by something else
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

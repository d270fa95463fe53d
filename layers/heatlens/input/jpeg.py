"""Check a JPEG before it is decoded, as a file or as a frame within DICOM."""

from heatlens.errors import UnreadableImage

_START_OF_SCAN = b"\xff\xda"  # within a scan 0xFF is always followed by something else
_MAX_SCANS = 100  # a real progressive JPEG has a dozen; each costs a pass over all pixels


def check_scans(jpeg: bytes) -> None:
    """Refuse a JPEG that would take minutes to decode.

    Raises:
        UnreadableImage: It has more scans than any real picture.
    """
    if jpeg.count(_START_OF_SCAN) > _MAX_SCANS:
        raise UnreadableImage(f"the JPEG has more than {_MAX_SCANS} scans, which no picture needs")

"""Read the values of a DICOM frame where its bits are, and with the sign that they can only have."""

from collections.abc import Callable

import numpy as np
from pydicom.dataset import Dataset

from heatlens.errors import UnreadableImage
from heatlens.input.dicom.numbers import Notes, add_note
from heatlens.input.grey_levels import Samples

_BYTE_BITS = 8
_TWO_SIGNS = "the DICOM file does not say whether its values are signed: it has no PixelRepresentation"
_TWO_PLACES = "the DICOM file contradicts itself: HighBit is lower than BitsStored allows, and the values use all bits"


def place_bits(dataset: Dataset, decode: Callable[[], Samples], notes: Notes) -> Samples:
    """Decode whole numbers, and shift them where `HighBit` is not the highest of the stored bits.

    Args:
        dataset: Its pixel module's elements; `PixelRepresentation` is added where it is missing.
        decode: Decodes the frame as the data set describes it.
        notes: Receives a sentence for each assumption.

    Raises:
        UnreadableImage: The signs or the places of the bits are unknown, and the values depend on them.
        Exception: Any error of `decode`.
    """
    bits, high = int(dataset.BitsStored), dataset.get("HighBit")
    without_sign = dataset.get("PixelRepresentation") is None
    if without_sign:
        dataset.PixelRepresentation = 0
        add_note(notes, "PixelRepresentation is missing: read as unsigned.")
    if high is None or high == bits - 1 or dataset.BitsAllocated == 1:
        samples = decode()
    else:
        dataset.BitsStored = dataset.BitsAllocated  # otherwise the bits above those stored are dropped
        samples = _placed(decode(), bits, int(high), notes)
        dataset.BitsStored = bits
    if without_sign and samples.ndim == 2 and bits > _BYTE_BITS and (samples >> (bits - 1)).any():
        raise UnreadableImage(_TWO_SIGNS)
    return samples


def _placed(samples: Samples, bits: int, high: int, notes: Notes) -> Samples:
    """Shift values so that the bit `high` is their highest, unless they lie in the lowest bits."""
    allocated = 8 * samples.itemsize
    lowest = min(bits, high + 1)
    if _fits(samples, lowest):
        add_note(notes, "HighBit is not that of BitsStored: the values lie in the lowest bits and are read there.")
        return samples
    if not bits <= high + 1 <= allocated:
        raise UnreadableImage(_TWO_PLACES)
    add_note(notes, f"HighBit is {high} with {bits} bits stored: the values were shifted by {high + 1 - bits} bits.")
    placed: Samples = (samples << np.asarray(allocated - 1 - high, samples.dtype)) >> np.asarray(
        allocated - bits, samples.dtype
    )
    return placed


def _fits(samples: Samples, bits: int) -> bool:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if samples.dtype.kind == "i" else (0, 2**bits)
    return bool(samples.min() >= low and samples.max() < high)

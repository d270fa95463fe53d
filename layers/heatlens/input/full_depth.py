"""Compute the values of grayscale samples at full depth, as a model's step `values` reads them."""

import numpy as np

from heatlens.errors import NoFullDepth, UnreadableImage
from heatlens.input.grey_levels import Curve, Samples, apply_exactly
from heatlens.steps import Values
from heatlens.types import Floats, Picture

BYTES_PER_PIXEL = 16  # the values and a copy of them, and what preprocessing makes of them

_NOT_FINITE = "the image has values that are not finite: give each pixel a finite number"
_NO_BITS = "the model reads whole numbers, and the values of this image are floats: send 16-bit values"


def full_depth(
    samples: Samples, step: Values, *, inverted: bool = False, bits: int | None = None, modality: Curve | None = None
) -> Floats:
    """Compute the values that the model reads, in float64, rounded once to float32.

    Args:
        samples: As stored, `[H,W]`.
        step: How the model reads them.
        inverted: Whether white is the smallest value.
        bits: How many bits a stored value has; `None` for those of its type.
        modality: DICOM's modality stage, where it changes the values.

    Returns:
        `[H,W,1]`.

    Raises:
        NoFullDepth: The step needs the number of bits, and the samples are floats.
        UnreadableImage: A value is not finite.
    """
    bits = 8 * samples.itemsize if bits is None and samples.dtype.kind in "iu" else bits
    function = modality if modality is not None and step.of == "rescaled" else _as_stored
    if inverted and step.monochrome1 != "keep":
        function = _subtracted(function, _largest(samples, function, bits, step.monochrome1))
    if step.scale != "none":
        function = _scaled(function, _largest(samples, function, bits, step.scale), step)
    with np.errstate(over="ignore"):  # of float32: found below
        values = apply_exactly(samples, function)
    if not np.isfinite(values).all():
        raise UnreadableImage(_NOT_FINITE)
    return values[..., None]


def checked(picture: Picture, step: Values | None) -> Picture:
    """Return the picture, unless the model reads values that it does not have.

    Raises:
        NoFullDepth: It has 8 bits, or colors, which the model's description does not map.
    """
    if step is not None and picture.values is None and step.eight_bits == "refuse":
        raise NoFullDepth(
            "the model reads values at full depth, and this image has 8 bits or colors: send DICOM or "
            "high-bit-depth grayscale"
        )
    return picture


def _as_stored(values: Samples) -> Samples:
    return values.astype(np.float64)


def _largest(samples: Samples, function: Curve, bits: int | None, kind: str) -> float:
    if kind == "maximum":
        return float(apply_exactly(samples, function).max())
    if bits is None:
        raise NoFullDepth(_NO_BITS)
    return float(2**bits - 1)


def _subtracted(function: Curve, largest: float) -> Curve:
    return lambda values: largest - function(values)


def _scaled(function: Curve, largest: float, step: Values) -> Curve:
    factor = (step.high - step.low) / (largest or 1.0)
    return lambda values: function(values) * factor + step.low

"""The absolute scale: signed map [h,w] and calibration -> heat in 0..1 that means the same in two images."""

import numpy as np

from heatlens.card import DEFAULT_METHOD, Calibration, Layer
from heatlens.errors import InvalidOption, Mistake
from heatlens.explain.cam import positive
from heatlens.types import Floats

PERCENTILE = "99"


def full_heat(calibration: Calibration | None, layer: Layer, method: str) -> float:
    """The value of the signed map that is drawn as full heat: the 99th percentile of the calibration set's peaks.

    Args:
        calibration: Of the layer's maps by this method, smoothed or contrasted as they are asked for.
        layer: For the sentence of the refusal.
        method: For the same.

    Raises:
        InvalidOption: There is no calibration, or not one map of it has positive evidence.
    """
    if calibration is None:
        have = [name for name in (DEFAULT_METHOD, *layer.calibrations) if layer.calibration_of(name)]
        raise _refused(
            f"the model has no calibration for {method} at {layer.name} as it is asked for here: "
            + (f"plain {', '.join(have)} can be shown so, all others" if have else "every map can be shown")
            + " by scale=image"
        )
    full = calibration.peak_percentiles.get(PERCENTILE, 0.0)
    if full <= 0:
        raise _refused(f"the calibration for {method} at {layer.name} has no positive evidence: use scale=image")
    return full


def absolute(signed_map: Floats, full: float) -> Floats:
    """The `absolute` scale: `relu(s) / full`, cut off at 1, `[h, w]` in 0..1."""
    heat: Floats = np.clip(signed_map / np.float32(full), 0, 1)
    return heat


def scaled_heat(signed_map: Floats, full: float | None) -> Floats:
    """Scale positive evidence to 0..1: by `full`, or by the map's own maximum where that is `None`."""
    return positive(signed_map) if full is None else absolute(signed_map, full)


def _refused(message: str) -> InvalidOption:
    return InvalidOption(Mistake("scale", message, "no_calibration"))

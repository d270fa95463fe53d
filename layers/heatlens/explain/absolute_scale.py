"""Scale signed maps [h,w] to heat in 0..1 that means the same in all images of a class, by its calibration."""

import numpy as np

from heatlens.card import DEFAULT_METHOD, Calibration, Layer, Peaks
from heatlens.errors import InvalidOption, Mistake
from heatlens.explain.cam import positive
from heatlens.types import Floats

PERCENTILE = "99"


def full_heat(calibration: Calibration | None, layer: Layer, method: str) -> float:
    """Look up the value that is drawn as full heat for all classes together: the 99th percentile of the peaks.

    Args:
        calibration: Of maps by this method with these smoothings and contrast; `None` where there is none.
        layer: The layer, named in the error.
        method: The method, named in the error.

    Raises:
        InvalidOption: There is no calibration, or it has no positive evidence.
    """
    if calibration is None:
        have = [name for name in (DEFAULT_METHOD, *layer.calibrations) if layer.calibration_of(name)]
        raise _refused(
            f"the model has no calibration for {method} at {layer.name} as it is asked for here: "
            + (f"plain {', '.join(have)} can be shown so, all others" if have else "every map can be shown")
            + " by scale=image"
        )
    full = calibration.peak_percentiles.get(PERCENTILE, 0.0)
    if np.float32(full) <= 0:
        raise _refused(f"the calibration for {method} at {layer.name} has no positive evidence: use scale=image")
    return full


def full_heat_of(peaks: Peaks | None, pooled: float) -> float:
    """Look up the value that is drawn as full heat for one class.

    Args:
        peaks: Of the class; `None` where too few calibration images were explained for it.
        pooled: The value of all classes together, which is used then.
    """
    own = peaks.peak_percentiles.get(PERCENTILE, 0.0) if peaks else 0.0
    return own if np.float32(own) > 0 else pooled


def absolute(signed_map: Floats, full: float) -> Floats:
    """Scale to `relu(s) / full`, clipped at 1, `[h, w]` in 0..1 (`scale=absolute`)."""
    heat: Floats = np.clip(signed_map / np.float32(full), 0, 1)
    return heat


def scaled_heat(signed_map: Floats, full: float | None) -> Floats:
    """Scale positive evidence to 0..1: by `full`, or by the map's own maximum where that is `None`."""
    return positive(signed_map) if full is None else absolute(signed_map, full)


def _refused(message: str) -> InvalidOption:
    return InvalidOption(Mistake("scale", message, "no_calibration"))

"""Activation and gradient [B,C,h,w] -> signed map [B,h,w], its positive part, and what the map is worth."""

import numpy as np

from heatlens.card import Calibration
from heatlens.types import Floats, Quality

WEAK_SHARE = 0.1  # of all evidence, positive and negative, in absolute value
WEAK_PERCENTILE = "5"


def gradcam(activation: Floats, gradient: Floats) -> Floats:
    """Grad-CAM before its ReLU.

    `s[b,i,j] = sum_k alpha[b,k] * A[b,k,i,j]` with `alpha[b,k] = mean_ij dY[b] / dA[b,k,i,j]`, Y being the explained
    logit (Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2; the ReLU of equation 2 is `positive`).

    Args:
        activation: `[B, C, h, w]`.
        gradient: Of the explained logit with respect to the activation, `[B, C, h, w]`.

    Returns:
        Float32 `[B, h, w]` in logit units.
    """
    weights = gradient.mean(axis=(2, 3))
    signed_maps: Floats = np.einsum("bc,bchw->bhw", weights, activation)
    return signed_maps


def positive(signed_map: Floats) -> Floats:
    """The `image` scale: `relu(s) / max(relu(s))`, `[h, w]` in 0..1; no minimum is subtracted, an empty map stays 0."""
    heat = np.maximum(signed_map, 0)
    peak = heat.max()
    return heat / peak if peak > 0 else heat


def signed(signed_map: Floats) -> Floats:
    """The `image` scale of signed colormaps: `0.5 + s / (2 max|s|)`, `[h, w]` in 0..1; a map of zeros is 0.5."""
    reach = np.abs(signed_map).max()
    heat: Floats = np.float32(0.5) + signed_map / (2 * reach if reach > 0 else np.float32(1))
    return heat


def quality(signed_map: Floats, calibration: Calibration | None) -> Quality:
    """Tell a map worth showing from one that is not.

    Returns:
        `empty` where nothing is positive; `weak` where positive evidence is under a tenth of all (`sum relu(s) / sum
        |s|`) or the peak is under the 5th percentile of the calibration set; else `ok`.
    """
    peak = float(signed_map.max())
    if peak <= 0:
        return "empty"
    share = float(np.maximum(signed_map, 0).sum() / np.abs(signed_map).sum())
    floor = calibration.peak_percentiles.get(WEAK_PERCENTILE, 0.0) if calibration else 0.0
    return "weak" if share < WEAK_SHARE or peak < floor else "ok"

"""Make signed maps [B,h,w] from activation and gradient [B,C,h,w], scale them to heat, and rate their quality."""

import numpy as np

from heatlens.card import Peaks
from heatlens.engines.default_map import weighted_sum
from heatlens.explain.methods import METHODS, PROJECTED
from heatlens.types import Floats, Quality

WEAK_SHARE = 0.1  # of all evidence, positive and negative, in absolute value


def signed_map(method: str, activation: Floats, gradient: Floats, *, eigen_smooth: bool = False) -> Floats:
    """Compute the map of each image before its ReLU, by a method that needs only activation and gradient.

    Args:
        method: A key of `METHODS`.
        activation: `[B,C,h,w]`.
        gradient: Of the explained logit with respect to it, `[B,C,h,w]`.
        eigen_smooth: Project the weighted activation on its first principal component instead of summing it.

    Returns:
        Float32 `[B,h,w]`, in the logit's unit; a projection has that of the activation or the weighted activation.
    """
    return reduce(activation, METHODS[method](activation, gradient), projected=eigen_smooth or method in PROJECTED)


def reduce(activation: Floats, weights: Floats, *, projected: bool = False) -> Floats:
    """Reduce `[B,C,h,w]`, weighted by `[B,C]` or `[B,C,h,w]`, to `[B,h,w]`: sum over channels, or project."""
    if projected:
        weighted = activation * (weights if weights.ndim == activation.ndim else weights[:, :, None, None])
        return np.stack([_project(image) for image in weighted])
    return weighted_sum(activation, weights)


def _project(weighted: Floats) -> Floats:
    """Project `[C,h,w]` to `[h,w]`: each cell's channels, less their mean over cells, on the first singular vector.

    It is the right singular vector with the sign that LAPACK gives, as in pytorch-grad-cam; both signs are valid.
    """
    cells = weighted.reshape(len(weighted), -1).T
    centered = cells - cells.mean(axis=0)
    first = np.linalg.svd(centered, full_matrices=False)[2][0]
    projection: Floats = (centered @ first).reshape(weighted.shape[1:])
    return projection


def positive(signed_map: Floats) -> Floats:
    """Scale to `relu(s) / max(relu(s))`, `[h, w]` in 0..1 (`scale=image`); an empty map stays 0."""
    heat = np.maximum(signed_map, 0)
    peak = heat.max()
    return heat / peak if peak > 0 else heat


def signed(signed_map: Floats, full: float | None = None) -> Floats:
    """Scale for signed colormaps: `0.5 + s / (2 max|s|)`, `[h, w]` in 0..1; a map of zeros is 0.5.

    Args:
        signed_map: `[h, w]`.
        full: The value in place of `max|s|` for a scale that is the same in all images; values beyond it are clipped.
    """
    reach = np.abs(signed_map).max() if full is None else np.float32(full)
    heat: Floats = np.float32(0.5) + signed_map / (2 * reach if reach > 0 else np.float32(1))
    return heat if full is None else np.clip(heat, 0, 1)


def quality(signed_map: Floats, peaks: Peaks | None) -> Quality:
    """Rate whether a map is worth showing.

    Args:
        signed_map: `[h, w]`.
        peaks: Those of the explained class by the same method; `None` where there are none.

    Returns:
        `empty` where nothing is positive; `weak` where positive evidence is under a tenth of all (`sum relu(s) / sum
        |s|`) or the peak is under the floor of the class: the 5th percentile of its peaks, or its lower bound with
        95 % confidence; else `ok`.
    """
    peak = float(signed_map.max())
    if peak <= 0:
        return "empty"
    share = float(np.maximum(signed_map, 0).sum() / np.abs(signed_map).sum())
    floor = peaks.floor if peaks else None
    return "weak" if share < WEAK_SHARE or (floor is not None and peak < floor) else "ok"

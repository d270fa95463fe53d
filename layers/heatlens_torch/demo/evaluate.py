"""Measure a model against known truth: AUC, accuracy and pointing game."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from heatlens_torch.demo.phantoms import HELD_OUT_SEEDS, RENDERED_SIZE, phantom, to_pil

Floats = NDArray[np.float32]
Scorer = Callable[[list[Image.Image]], tuple[Floats, Floats]]
"""Returns the logits [B] and the signed maps [B, h, w] of the class OPACITY of images."""

POINTING_SIZE = 224
"""Side in pixels of the map in which the hottest point is looked for."""

TOLERANCE_PX = 15
"""Distance in those pixels that still counts in the tolerant pointing game."""

_CHUNK = 32


def evaluate(score: Scorer, *, count: int = 800) -> dict[str, float]:
    """Score held-out phantoms, every second one with an opacity.

    Args:
        score: the model, however it is executed.
        count: number of phantoms.

    Returns:
        `auc`; `accuracy` at logit 0; `pointing_strict` and `pointing_tolerance`, parts of all phantoms with an
        opacity whose map is hottest inside the opacity, or within 15 px of it; and `count`.
    """
    logits, labels, distances = [], [], []
    for first in range(0, count, _CHUNK):
        seeds = HELD_OUT_SEEDS[:count][first : first + _CHUNK]
        opaque = [bool(seed % 2) for seed in seeds]
        images = [to_pil(phantom(seed, size=RENDERED_SIZE, opacity=it)) for seed, it in zip(seeds, opaque, strict=True)]
        scores, maps = score(images)
        logits.append(scores)
        labels += opaque
        distances += [_miss(map_, seed) for map_, seed, it in zip(maps, seeds, opaque, strict=True) if it]
    return _summary(np.concatenate(logits), np.array(labels), np.array(distances))


def auc(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """Compute the area under the ROC curve by ranks (Mann and Whitney), ties counting one half.

    U = sum of the positives' ranks - P (P + 1) / 2, AUC = U / (P N).

    Args:
        scores: [B].
        labels: [B], of both classes.
    """
    ranks = rankdata(scores)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def distance_to(mask: NDArray[np.bool_], signed_map: Floats) -> float:
    """Measure how far the hottest point of relu(map), enlarged to the mask's size, lies from the mask.

    Args:
        mask: the truth, [H, W].
        signed_map: the map before its ReLU, [h, w].

    Returns:
        Euclidean distance in pixels: 0 inside, infinite for a map without any heat.
    """
    heat = np.maximum(signed_map, 0).astype(np.float32)
    if not heat.any():
        return float("inf")
    enlarged = np.asarray(Image.fromarray(heat).resize(mask.shape[::-1], Image.Resampling.BILINEAR))
    row, column = np.unravel_index(enlarged.argmax(), enlarged.shape)
    rows, columns = np.nonzero(mask)
    return float(np.hypot(rows - row, columns - column).min())


def _miss(signed_map: Floats, seed: int) -> float:
    return distance_to(phantom(seed, size=POINTING_SIZE, opacity=True).mask, signed_map)


def _summary(logits: Floats, labels: NDArray[np.bool_], distances: NDArray[np.float64]) -> dict[str, float]:
    return {
        "count": len(labels),
        "auc": auc(logits, labels),
        "accuracy": float(((logits > 0) == labels).mean()),
        "pointing_strict": float((distances == 0).mean()),
        "pointing_tolerance": float((distances <= TOLERANCE_PX).mean()),
    }

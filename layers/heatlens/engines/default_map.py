"""Explain a batch by the default method: Grad-CAM, or Recipro-CAM where the tail has no gradient."""

from dataclasses import dataclass

import numpy as np

from heatlens.engines.base import Engine
from heatlens.engines.reciprocam import RERUN_BATCH, reciprocam
from heatlens.types import Floats


@dataclass(frozen=True, slots=True)
class DefaultMap:
    """Of a batch: `activation` `[B,C,h,w]`, `logits` `[B,K]`, `gradient` `[B,C,h,w]`, `signed_map` `[B,h,w]`.

    `gradient` is `None` where the tail has none.
    """

    activation: Floats
    logits: Floats
    gradient: Floats | None
    signed_map: Floats


def explain_by_default(engine: Engine, batch: Floats, selector: Floats) -> DefaultMap:
    """Explain images `[B,3,H,W]` along selectors `[B,K]`; a row of zeros is the predicted class."""
    crossing = engine.trunk(batch)
    logits, gradient = engine.tail(crossing, selector)
    if gradient is not None:
        return DefaultMap(crossing[0], logits, gradient, weighted_sum(crossing[0], gradient.mean(axis=(2, 3))))
    rows = np.where((selector == 0).all(axis=1, keepdims=True), predicted_selector(logits), selector)
    maps = [
        reciprocam(engine, [value[at : at + 1] for value in crossing], rows[at : at + 1], RERUN_BATCH)[0]
        for at in range(len(rows))
    ]
    return DefaultMap(crossing[0], logits, None, np.stack(maps))


def weighted_sum(activation: Floats, weights: Floats) -> Floats:
    """Sum `[B,C,h,w]` over its channels, weighted by `[B,C]` or `[B,C,h,w]`, to `[B,h,w]`."""
    channels = "bc" if weights.ndim == 2 else "bchw"
    maps: Floats = np.einsum(f"{channels},bchw->bhw", weights, activation)
    return maps


def predicted_selector(logits: Floats) -> Floats:
    """Select each row's predicted class explicitly, `[B,K]`, so that an engine's rounding cannot choose another.

    For one logit that is its sign (+1 from 0 upwards, else -1), otherwise the one-hot argmax.
    """
    if logits.shape[1] == 1:
        sign: Floats = np.where(logits >= 0, 1, -1).astype(np.float32)
        return sign
    predicted = np.zeros_like(logits, np.float32)
    np.put_along_axis(predicted, logits.argmax(axis=1, keepdims=True), 1, axis=1)
    return predicted

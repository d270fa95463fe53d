"""Measure how near explanations at a lower precision are to those in float32."""

import numpy as np
import torch

from heatlens.card import Agreement
from heatlens.engines.base import Engine
from heatlens.types import Floats
from heatlens_torch.graph.selector import predicted_selector
from heatlens_torch.proof.parity import Explained, explain_compiled

NEIGHBORHOOD = 1  # cells between two maxima that count as the same place


def explain_float32(engine: Engine, images: Floats, logits: int) -> Explained:
    """Explain each image's predicted class in float32, to compare with.

    Args:
        engine: Runs in float32.
        images: `[N,3,H,W]`, preprocessed.
        logits: K.
    """
    return explain_compiled(engine, images, np.zeros((len(images), logits), np.float32))


def measure_agreement(engine: Engine, images: Floats, truth: Explained) -> Agreement:
    """Explain the same images, each for the class that float32 predicts, and compare.

    Args:
        engine: Runs at the precision in question.
        images: `[N,3,H,W]`, preprocessed.
        truth: Of `explain_float32`.
    """
    ours = explain_compiled(engine, images, _predicted(truth.logits))
    correlations = [correlation(*maps) for maps in zip(ours.signed_map, truth.signed_map, strict=True)]
    distances = np.array([_apart(*maps) for maps in zip(ours.signed_map, truth.signed_map, strict=True)])
    kept = (_predicted(ours.logits) == _predicted(truth.logits)).all(axis=1)
    return Agreement(
        images=len(images),
        engine=engine.name,
        correlation=float(np.mean(correlations)),
        least_correlation=min(correlations),
        same_maximum=float((distances == 0).mean()),
        pointing=float((distances <= NEIGHBORHOOD).mean()),
        top1_kept=float(kept.mean()),
    )


def correlation(ours: Floats, theirs: Floats) -> float:
    """Compute Pearson's correlation of all cells; if a map is flat or not finite, 1 if both are equal, else 0."""
    one, other = (each.astype(np.float64).ravel() - each.mean(dtype=np.float64) for each in (ours, theirs))
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    if not (np.isfinite(scale) and scale > 0):
        return float(np.array_equal(ours, theirs))
    return float((one * other).sum() / scale)


def _apart(ours: Floats, theirs: Floats) -> int:
    """Count the cells between the maxima, the larger of rows and columns."""
    places = [np.array(np.unravel_index(each.argmax(), each.shape)) for each in (ours, theirs)]
    return int(np.abs(places[0] - places[1]).max())


def _predicted(logits: Floats) -> Floats:
    selector: Floats = predicted_selector(torch.from_numpy(logits)).numpy()
    return selector

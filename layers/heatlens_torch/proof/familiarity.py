"""Fit the reference that tells inputs like the calibration images from all others, and measure how well it does."""

import base64
from collections.abc import Mapping

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from heatlens.card import FamiliarityReference
from heatlens.engines.base import Engine
from heatlens.explain.familiarity import LIMIT, distances, features, pool
from heatlens.types import Floats
from heatlens_torch.batch_size import in_batches
from heatlens_torch.loading.network import stack
from heatlens_torch.loading.spec import ModelSpec
from heatlens_torch.proof.strange_images import strange_images

BATCH = 8
FOLDS = 4
PERCENTILES = ("1", "5", "25", "50", "75", "95", "99", LIMIT)
TAIL = 3.0902  # standard deviations under which 99.9 % of a normal distribution lie
LEAST_DEVIATION = 1e-6


def measure(engine: Engine, spec: ModelSpec, images: Floats) -> FamiliarityReference | None:
    """Fit the reference on calibration images, and compare it with images that are no model's input.

    Args:
        engine: Executes the compiled graphs of the layer.
        spec: The description; without a function for its images there is no reference.
        images: `[N,3,H,W]`, preprocessed.
    """
    if spec.inputs is None:
        return None
    known = _features(engine, images)
    strange = {kind: _features(engine, stack(own, spec.preprocess)) for kind, own in strange_images().items()}
    return reference_of(known, strange)


def reference_of(known: Floats, strange: Mapping[str, Floats]) -> FamiliarityReference:
    """Fit the reference on features `[N,F]`, and measure it on those of strange images, by kind."""
    mean, whitening = fit(known)
    own = held_out_distances(known)
    limits = {percentile: float(np.percentile(own, float(percentile))) for percentile in PERCENTILES}
    limits[LIMIT] = _tail(own)
    others = {kind: distances(found, mean, whitening) for kind, found in strange.items()}
    far = np.concatenate(list(others.values()))
    return FamiliarityReference(
        images=len(known),
        features=known.shape[1],
        mean_base64=_base64(mean),
        whitening_base64=_base64(whitening[np.tril_indices(len(mean))]),
        distance_percentiles=limits,
        auroc=float(roc_auc_score([0] * len(own) + [1] * len(far), [*own, *far])),
        strange=len(far),
        unfamiliar={kind: float((found > limits[LIMIT]).mean()) for kind, found in others.items()},
    )


def fit(known: Floats) -> tuple[Floats, Floats]:
    """Return the mean `[F]` and the triangle `W` `[F,F]`: `W W^T` is the inverse of Ledoit and Wolf's covariance.

    The features are first divided by their standard deviations, so that shrinking does not favor the largest.
    """
    wide = known.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0) + LEAST_DEVIATION
    precision = LedoitWolf(assume_centered=True).fit((wide - mean) / deviation).precision_
    whitening = np.linalg.cholesky(precision) / deviation[:, None]
    return mean.astype(np.float32), whitening.astype(np.float32)


def held_out_distances(known: Floats) -> Floats:
    """Compute the distance of each image from the others: each quarter from a fit of the rest, in a fixed order."""
    found = np.empty(len(known), np.float32)
    for rest, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(known):
        found[held_out] = distances(known[held_out], *fit(known[rest]))
    return found


def _tail(own: Floats) -> float:
    """Estimate the 99.9th percentile of distances: by their logarithms' normal distribution, no less than the largest.

    Few calibration sets have a thousand images, of which the 99.9th percentile could be read.
    """
    logarithms = np.log(np.maximum(own, np.finfo(np.float32).tiny))
    return max(float(own.max()), float(np.exp(logarithms.mean() + TAIL * logarithms.std())))


def _features(engine: Engine, images: Floats) -> Floats:
    return features(np.concatenate([pool(engine.trunk(batch)) for batch in in_batches(images, BATCH)]))


def _base64(values: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")

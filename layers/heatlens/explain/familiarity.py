"""Compare an input with the calibration images, by the trunk's activation pooled over its cells, `[C]`.

A heatmap is as sharp for an image of another kind as for a radiograph. So the distance of the input's features from
those of the calibration images is measured, without a further run of the network. It is Mahalanobis's, as in Lee et
al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018, with
one mean for all classes: the calibration images have no labels. Not used from there: a mean for each class, several
layers, and perturbed inputs. The covariance is shrunk as in Ledoit and Wolf, "A well-conditioned estimator for
large-dimensional covariance matrices", Journal of Multivariate Analysis, 2004: there may be fewer images than features.
Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021, arXiv:2106.09022, subtract
the distance from one mean of all classes, which is the distance used here; with one mean theirs is 0.
"""

from collections.abc import Sequence

import numpy as np

from heatlens.card import FamiliarityReference
from heatlens.types import Familiarity, Floats

MOST_FEATURES = 48  # in the card as a triangle of float32: 6 KB of text
LIMIT = "99.9"
UNFAMILIAR = Familiarity(100.0, unfamiliar=True)


def pool(crossing: Sequence[Floats]) -> Floats:
    """Average the activation `[B,C,h,w]`, the first of the trunk's outputs, over its cells: `[B,C]`."""
    pooled: Floats = crossing[0].mean(axis=(2, 3))
    return pooled


def features(pooled: Floats) -> Floats:
    """Reduce `[N,C]` to at most 48 features `[N,F]`: the means of groups of neighboring channels."""
    groups = np.array_split(pooled, min(MOST_FEATURES, pooled.shape[1]), axis=1)
    return np.stack([group.mean(axis=1) for group in groups], axis=1)


def distances(found: Floats, mean: Floats, whitening: Floats) -> Floats:
    """Compute `|(f - mean) W| / sqrt(F)` of features `[N,F]`; `W W^T` is the inverse of the covariance."""
    whitened = (found.astype(np.float64) - mean) @ whitening  # the square of a large float32 is not finite
    lengths: Floats = np.sqrt(np.mean(whitened**2, axis=1)).astype(np.float32)
    return lengths


def familiarity(pooled: Floats, reference: FamiliarityReference | None) -> Familiarity | None:
    """Rate an input by its pooled activation `[C]`; `None` where the card has no reference."""
    if reference is None:
        return None
    if not np.isfinite(pooled).all():
        return UNFAMILIAR
    distance = float(distances(features(pooled[None]), reference.mean, reference.whitening)[0])
    percentiles = reference.distance_percentiles
    if distance > percentiles[LIMIT]:
        return UNFAMILIAR
    marks, values = [0.0, *map(float, percentiles)], [0.0, *percentiles.values()]
    return Familiarity(round(float(np.interp(distance, values, marks)), 2), unfamiliar=False)

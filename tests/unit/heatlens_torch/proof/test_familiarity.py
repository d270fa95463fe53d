"""The reference of familiarity: what it is fitted on is familiar, everything else is not."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from heatlens.card import FamiliarityReference
from heatlens.explain.familiarity import familiarity
from heatlens.types import Floats
from heatlens_torch.proof.familiarity import fit, held_out_distances, reference_of

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(12, 12)) * np.logspace(-3, 3, 12)  # features of very different sizes
MEAN = RNG.normal(size=12)


def draw(count: int, seed: int) -> Floats:
    points = MEAN + np.random.default_rng(seed).normal(size=(count, 12)) @ MIXING
    return points.astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> FamiliarityReference:
    near, far = draw(50, seed=2), 20 * draw(50, seed=3)
    return reference_of(draw(64, seed=1), {"the same": near, "far": far})


def test_the_fit_is_ledoit_and_wolfs_of_standardized_features() -> None:
    known = draw(64, seed=1).astype(np.float64)
    scaled = (known - known.mean(axis=0)) / known.std(axis=0)

    mean, whitening = fit(known.astype(np.float32))

    assert mean == pytest.approx(known.mean(axis=0), rel=1e-5)
    unscaled = whitening * known.std(axis=0)[:, None]
    precision = LedoitWolf(assume_centered=True).fit(scaled).precision_
    assert unscaled @ unscaled.T == pytest.approx(precision, rel=1e-2, abs=1e-2)


def test_fresh_inputs_of_the_same_kind_are_familiar_and_others_are_not(reference: FamiliarityReference) -> None:
    fresh = [familiarity(each, reference) for each in draw(1000, seed=4)]
    assert sum(each.unfamiliar for each in fresh if each) <= 10
    assert 25 <= float(np.median([each.percentile for each in fresh if each])) <= 75
    assert all(found and found.unfamiliar for found in (familiarity(20 * each, reference) for each in draw(20, seed=5)))


def test_the_reference_says_how_well_it_separates(reference: FamiliarityReference) -> None:
    assert (reference.images, reference.features, reference.strange) == (64, 12, 100)
    assert reference.unfamiliar["far"] > 0.9
    assert reference.unfamiliar["the same"] < 0.1
    assert 0.7 < reference.auroc < 0.8  # half of the others are of the same kind: 0.5 and 1 on average
    limits = list(reference.distance_percentiles.values())
    assert limits == sorted(limits)


def test_distances_are_of_images_that_the_fit_has_not_seen() -> None:
    """With as many features as images in a fit, its own images are all near; the held-out ones are not."""
    known = draw(16, seed=6)
    mean, whitening = fit(known)
    own = np.sqrt((((known - mean) @ whitening) ** 2).mean(axis=1))
    assert float(np.median(held_out_distances(known))) > 1.2 * float(np.median(own))


def test_a_constant_feature_does_not_divide_by_0() -> None:
    known = draw(64, seed=1)
    known[:, 3] = 5
    mean, whitening = fit(known)
    assert np.isfinite(whitening).all()
    assert mean[3] == 5

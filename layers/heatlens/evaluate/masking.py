"""Mask parts of an image [3,H,W] by a ranking of its pixels [H,W], to test a map."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
import numpy.typing as npt

from heatlens.card import Preprocess
from heatlens.evaluate.imputation import impute
from heatlens.steps import Normalize, PerImage, Range, Scale
from heatlens.types import Floats

Places = npt.NDArray[np.int64]

NOISE = 0.01  # standard deviation, in those of the image; ROAD's, whose images are normalized
BLUR_TAPS, BLUR_SIGMA = 11, 5.0  # pixels; RISE's
_SEED = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """An image `[C,H,W]`, its blurred copy, its `heat` `[H,W]`, and each pixel's place, 0 for the hottest.

    `mean` and `deviation`, `[C,1,1]`, are those of the input's values: 0 and 1 where preprocessing normalizes them.
    """

    image: Floats
    blurred: Floats
    heat: Floats
    places: Places
    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, image: Floats, heat: Floats, recipe: Preprocess) -> Self:
        """Rank the pixels by heat of any scale and sign; equal ones in reading order.

        Args:
            image: `[C,H,W]`, preprocessed.
            heat: `[H,W]`.
            recipe: Of the model. Where it does not normalize, mean and deviation are the image's own.
        """
        order = np.argsort(-heat, axis=None, kind="stable")
        places = np.empty(heat.size, np.int64)
        places[order] = np.arange(heat.size)
        mean, deviation = np.zeros((len(image), 1, 1), np.float32), np.ones((len(image), 1, 1), np.float32)
        if not _is_normalized(recipe):
            mean, deviation = (of(axis=(1, 2), keepdims=True, dtype=np.float64) for of in (image.mean, image.std))
        return cls(
            image, blur(image), heat, places.reshape(heat.shape), mean.astype(np.float32), deviation.astype(np.float32)
        )


def _is_normalized(recipe: Preprocess) -> bool:
    """Tell whether the input's mean is about 0: the last step that moves values subtracts one."""
    moving = [step for step in recipe.all_steps if isinstance(step, Normalize | PerImage | Range | Scale)]
    match moving[-1:]:
        case [Normalize() as step]:
            return any(step.mean)
        case [PerImage() as step]:
            return step.kind == "standardize"
    return False


Perturb = Callable[[Subject, Fraction], Floats]


def deleted(subject: Subject, share: Fraction) -> Floats:
    """Set the hottest `share` of the pixels to the mean color (Petsiuk et al., "RISE", BMVC 2018)."""
    return np.where(subject.places < _count(subject.places, share), subject.mean, subject.image)


def inserted(subject: Subject, share: Fraction) -> Floats:
    """Paste the hottest `share` of the pixels over the blurred image (RISE)."""
    return np.where(subject.places < _count(subject.places, share), subject.image, subject.blurred)


def without_most_relevant(subject: Subject, share: Fraction) -> Floats:
    """Keep the coldest `share` of the pixels and impute the rest: ROAD, most relevant first."""
    return _imputed(subject, subject.heat, subject.places.size - 1 - subject.places, share, 0)


def without_least_relevant(subject: Subject, share: Fraction) -> Floats:
    """Keep the hottest `share` of the pixels and impute the rest: ROAD, least relevant first."""
    return _imputed(subject, -subject.heat, subject.places, share, 1)


def blur(image: Floats) -> Floats:
    """Blur each channel by a Gaussian, with repeated edges."""
    offsets = np.arange(BLUR_TAPS) - BLUR_TAPS // 2
    taps = np.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    taps = (taps / taps.sum()).astype(np.float32)
    across = _filter(image, taps)
    return np.ascontiguousarray(_filter(across.swapaxes(1, 2), taps).swapaxes(1, 2))


def _filter(image: Floats, taps: Floats) -> Floats:
    reach, width = len(taps) // 2, image.shape[2]
    padded = np.pad(image, ((0, 0), (0, 0), (reach, reach)), mode="edge")
    filtered = np.zeros_like(image)
    for at, tap in enumerate(taps):
        filtered += tap * padded[:, :, at : at + width]
    return filtered


def _imputed(subject: Subject, heat: Floats, places: Places, share: Fraction, way: int) -> Floats:
    """Impute all but the coldest `share`: as in pytorch-grad-cam, pixels strictly under the percentile are kept.

    Where that is no pixel, because too many are equally cold, the first `share` by `places` is kept.
    """
    image, known = subject.image, heat < np.percentile(heat, float(100 * share))
    if not known.any():
        known = places < -(-share.numerator * (places.size - 1) // share.denominator)
    seed = (_SEED, way, share.numerator, share.denominator)
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return np.where(known, image, impute(image, known) + np.float32(NOISE) * subject.deviation * noise)


def _count(places: Places, share: Fraction) -> int:
    return round(places.size * share)

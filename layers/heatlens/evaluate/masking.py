"""Image [3,H,W] and a ranking of its pixels [H,W] -> what the network is shown to try a map: parts of the image."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
import numpy.typing as npt

from heatlens.evaluate.imputation import imputed
from heatlens.types import Floats

Places = npt.NDArray[np.int64]

NOISE = 0.01  # standard deviation, in units of the normalised image; ROAD's
BLUR_TAPS, BLUR_SIGMA = 11, 5.0  # pixels; RISE's
_SEED = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """An image `[3,H,W]`, the same `blurred`, its `heat` `[H,W]`, and the `places` of the pixels, 0 for the hottest."""

    image: Floats
    blurred: Floats
    heat: Floats
    places: Places

    @classmethod
    def of(cls, image: Floats, heat: Floats) -> Self:
        """Rank the pixels by heat of any scale and sign; equal ones are in reading order."""
        order = np.argsort(-heat, axis=None, kind="stable")
        places = np.empty(heat.size, np.int64)
        places[order] = np.arange(heat.size)
        return cls(image, blurred(image), heat, places.reshape(heat.shape))


Perturb = Callable[[Subject, Fraction], Floats]


def deleted(subject: Subject, share: Fraction) -> Floats:
    """The hottest `share` of the pixels is 0, the mean colour (Petsiuk et al., "RISE", BMVC 2018)."""
    return np.where(subject.places < _count(subject.places, share), np.float32(0), subject.image)


def inserted(subject: Subject, share: Fraction) -> Floats:
    """The hottest `share` of the pixels over the blurred image (RISE)."""
    return np.where(subject.places < _count(subject.places, share), subject.image, subject.blurred)


def without_most_relevant(subject: Subject, share: Fraction) -> Floats:
    """The coldest `share` of the pixels, the rest imputed: ROAD, most relevant first."""
    return _imputed(subject.image, subject.heat, subject.places.size - 1 - subject.places, share, 0)


def without_least_relevant(subject: Subject, share: Fraction) -> Floats:
    """The hottest `share` of the pixels, the rest imputed: ROAD, least relevant first."""
    return _imputed(subject.image, -subject.heat, subject.places, share, 1)


def blurred(image: Floats) -> Floats:
    """Gaussian blur of each channel, the edge repeated."""
    offsets = np.arange(BLUR_TAPS) - BLUR_TAPS // 2
    taps = np.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    taps = (taps / taps.sum()).astype(np.float32)
    across = _filtered(image, taps)
    return np.ascontiguousarray(_filtered(across.swapaxes(1, 2), taps).swapaxes(1, 2))


def _filtered(image: Floats, taps: Floats) -> Floats:
    reach, width = len(taps) // 2, image.shape[2]
    padded = np.pad(image, ((0, 0), (0, 0), (reach, reach)), mode="edge")
    filtered = np.zeros_like(image)
    for at, tap in enumerate(taps):
        filtered += tap * padded[:, :, at : at + width]
    return filtered


def _imputed(image: Floats, heat: Floats, places: Places, share: Fraction, way: int) -> Floats:
    """The coldest `share` stays: as in pytorch-grad-cam those strictly under the percentile, or none of several equals.

    That is no pixel at all where more than that are equally cold; then as many stay as would if none were equal, by
    their `places`, 0 for the first to stay.
    """
    known = heat < np.percentile(heat, float(100 * share))
    if not known.any():
        known = places < -(-share.numerator * (places.size - 1) // share.denominator)
    seed = (_SEED, way, share.numerator, share.denominator)
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return np.where(known, image, imputed(image, known) + np.float32(NOISE) * noise)


def _count(places: Places, share: Fraction) -> int:
    return round(places.size * share)

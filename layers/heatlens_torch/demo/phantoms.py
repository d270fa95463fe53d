"""Draw synthetic chest phantoms: image and opacity mask `[size, size]`, and the label, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from heatlens_torch.demo.anatomy import Field, chest, draw_patient
from heatlens_torch.demo.grain import grain
from heatlens_torch.demo.markers import markers
from heatlens_torch.demo.opacities import draw_opacity

TRAIN_SEEDS = range(1_000_000)
HELD_OUT_SEEDS = range(1_000_000, 1_100_000)
CALIBRATION_SEEDS = range(1_100_000, 1_200_000)
SAMPLE_SEEDS = range(1_200_000, 1_300_000)
TRUST_SEEDS = range(1_300_000, 1_400_000)

RENDERED_SIZE = 448
"""Side in pixels at which held-out and calibration phantoms are drawn, before the model's own resize."""

# A 12-bit detector that uses neither end of its range: a 16-bit file is nearly black unless its values are stretched.
_DETECTOR_FLOOR, _DETECTOR_CEILING = 170, 3900


@dataclass(frozen=True)
class Phantom:
    """A phantom with its ground truth: image float32 0 to 1, masks bool, all [size, size]; label 1 is an opacity."""

    image: Field
    mask: NDArray[np.bool_]
    label: int
    markers: NDArray[np.bool_]


def phantom(seed: int, *, size: int, opacity: bool | None = None) -> Phantom:
    """Compute one phantom; the same seed gives the same patient, opacity and markers at every size.

    Args:
        seed: picks everything.
        size: side in pixels.
        opacity: whether an opacity is present; None lets the seed decide. Nothing else of the image changes with it.

    Returns:
        The phantom; the mask holds the pixels where the opacity has at least half of its contrast.
    """
    anatomy, lesion, film, noise = np.random.default_rng(seed).spawn(4)
    patient, coin = draw_patient(anatomy), bool(lesion.random() < 0.5)
    density, lungs = chest(patient, *patient.see(size))
    image = _expose(anatomy, density)
    mask = np.zeros((size, size), dtype=np.bool_)
    present = coin if opacity is None else opacity
    if present:
        shadow = draw_opacity(lesion, patient)
        profile = shadow.profile(lungs)
        image += np.float32(shadow.contrast) * profile
        mask = profile >= 0.5
    image += grain(noise, size)
    opaque = markers(film, size)
    image += opaque * (np.float32(film.uniform(0.85, 1.0)) - image)
    return Phantom(np.clip(image, 0, 1), mask, int(present), opaque > 0.2)


def to_pil(phantom: Phantom, bits: Literal[8, 16] = 8) -> Image.Image:
    """Store a phantom as a gray image: 8 bits (mode L), or 16 bits (mode I;16) as a 12-bit detector fills them."""
    if bits == 8:
        return Image.fromarray(np.rint(phantom.image * 255).astype(np.uint8))
    counts = _DETECTOR_FLOOR + phantom.image * (_DETECTOR_CEILING - _DETECTOR_FLOOR)
    return Image.fromarray(np.rint(counts).astype(np.uint16))


def calibration_images(count: int) -> list[Image.Image]:
    """Draw 8-bit phantoms that no training or measurement sees, every second one with an opacity.

    Every third has black bars on two sides, as in training: uploads are not always square, the input always is.
    """
    return [
        ImageOps.expand(to_pil(phantom(seed, size=RENDERED_SIZE, opacity=bool(seed % 2))), border(seed, RENDERED_SIZE))
        for seed in CALIBRATION_SEEDS[:count]
    ]


def border(seed: int, size: int) -> tuple[int, int, int, int]:
    """Choose black bars on two sides for every third example, in pixels: left, top, right, bottom."""
    if seed % 3:
        return 0, 0, 0, 0
    across, bar = seed % 2, (seed // 6) % (size // 6)
    return (bar, 0, bar, 0) if across else (0, bar, 0, bar)


def _expose(rng: np.random.Generator, density: Field) -> Field:
    """Vary exposure and film curve: (gain * density + fog) ^ gamma."""
    gain, fog, gamma = rng.uniform(0.9, 1.15), rng.uniform(0.0, 0.05), rng.uniform(0.75, 1.3)
    exposed: Field = np.clip(density * np.float32(gain) + np.float32(fog), 0, 1) ** np.float32(gamma)
    return exposed

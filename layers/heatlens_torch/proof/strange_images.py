"""Draw images that are no model's input: flat, noise, text, gradients, shapes, and scenes with a photograph's spectrum.

They are computed from seeds, because the compiler has no photographs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 256
COUNT = 24  # of each kind, every second one in color
WORDS = (
    *("the", "report", "of", "this", "page", "has", "lines"),
    *("of", "plain", "words", "and", "no", "picture", "at", "all"),
)

Draw = Callable[[np.random.Generator], NDArray[np.float64]]


def strange_images(count: int = COUNT, *, seed: int = 0) -> dict[str, list[Image.Image]]:
    """Draw `count` images of each kind, the same for the same seed."""
    return {
        kind: [_image(draw, (seed, place, index)) for index in range(count)]
        for place, (kind, draw) in enumerate(KINDS.items())
    }


def _image(draw: Draw, seed: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(np.clip(draw(np.random.default_rng(seed)), 0, 255).astype(np.uint8))
    return image.convert("L") if seed[-1] % 2 else image


def _black(_: np.random.Generator) -> NDArray[np.float64]:
    return np.zeros((SIDE, SIDE, 3))


def _flat(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.ones((SIDE, SIDE, 1)) * rng.uniform(0, 256, 3)


def _noise(rng: np.random.Generator) -> NDArray[np.float64]:
    side = int(rng.integers(64, 513))
    return rng.uniform(0, 256, (side, side, 3))


def _gradient(rng: np.random.Generator) -> NDArray[np.float64]:
    ramp = _ramp(rng.uniform(0, 2 * np.pi))[..., None]
    first, last = rng.uniform(0, 256, (2, 3))
    blended: NDArray[np.float64] = ramp * last + (1 - ramp) * first
    return blended


def _shapes(rng: np.random.Generator) -> NDArray[np.float64]:
    image = Image.new("RGB", (SIDE, SIDE), _color(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 14))):
        left, top, width, height = rng.integers(0, SIDE, 4).tolist()
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape([left, top, left + width // 2 + 4, top + height // 2 + 4], fill=_color(rng))
    return np.asarray(image, np.float64)


def _text(rng: np.random.Generator) -> NDArray[np.float64]:
    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default()
    for top in range(8, SIDE - 12, int(rng.integers(11, 20))):
        pen.text((10, top), " ".join(rng.choice(WORDS, 8)), fill=(0, 0, 0), font=font)
    return np.asarray(image, np.float64)


def _clouds(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw noise whose amplitude falls as 1 / frequency, as that of photographs does (Field, JOSA A, 1987)."""
    exponent = rng.uniform(0.8, 2.0)
    shared = _pink(rng, exponent)
    return np.stack([0.7 * shared + 0.3 * _pink(rng, exponent) for _ in range(3)], axis=-1) * 255


def _landscape(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a bright sky over rough ground, with a ridge between them."""
    rows = np.linspace(0, 1, SIDE)[:, None, None]
    across = np.linspace(0, rng.uniform(3, 12), SIDE) + rng.uniform(0, 6)
    sky = rows * [60.0, 40.0, -20.0] + [120.0, 160.0, 220.0]
    ground = _pink(rng, 1.0)[..., None] * [100.0, 100.0, 76.0] + [40.0, 60.0, 20.0]
    below = rows[..., 0] > rng.uniform(0.3, 0.7) + 0.1 * np.sin(across)
    return np.where(below[..., None], ground, sky) + rng.normal(0, 4, (SIDE, SIDE, 3))


KINDS: dict[str, Draw] = {
    "black": _black,
    "flat": _flat,
    "noise": _noise,
    "gradient": _gradient,
    "shapes": _shapes,
    "text": _text,
    "clouds": _clouds,
    "landscape": _landscape,
}


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _ramp(angle: float) -> NDArray[np.float64]:
    axis = np.linspace(0, 1, SIDE)
    return _to_unit(np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None])


def _pink(rng: np.random.Generator, exponent: float) -> NDArray[np.float64]:
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None, :])
    frequency[0, 0] = 1
    return _to_unit(np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / frequency**exponent).real)


def _to_unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = (values - values.min()) / np.ptp(values)
    return scaled

"""Check that an overlay has the requested colors; shares no code with what drew it."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.float64]
EIGHTHS = tuple(number / 8 for number in range(9))
# Red, green and blue at places from 0 to 1, straight between them: jet and hot are made of such lines, viridis nearly.
LINES: dict[str, tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]] = {
    "jet": (
        ((0, 0.35, 0.66, 0.89, 1), (0, 0, 1, 1, 0.5)),
        ((0, 0.125, 0.375, 0.64, 0.91, 1), (0, 0, 1, 1, 0, 0)),
        ((0, 0.11, 0.34, 0.65, 1), (0.5, 1, 1, 0, 0)),
    ),
    "hot": (
        ((0, 0.365, 1), (0.042, 1, 1)),
        ((0, 0.365, 0.746, 1), (0, 0, 1, 1)),
        ((0, 0.746, 1), (0, 0, 1)),
    ),
    "viridis": (
        (EIGHTHS, (0.267, 0.279, 0.230, 0.173, 0.128, 0.153, 0.361, 0.668, 0.993)),
        (EIGHTHS, (0.005, 0.175, 0.322, 0.450, 0.567, 0.680, 0.786, 0.862, 0.906)),
        (EIGHTHS, (0.329, 0.483, 0.546, 0.558, 0.551, 0.504, 0.388, 0.196, 0.144)),
    ),
}
SLACK = 20.0  # of 255: how far viridis is from its lines


def painted(overlay: bytes, original: bytes, colormap: str, alpha: float) -> bool:
    """Return whether the overlay without its image has the map's colors; at low opacity little can be known."""
    blended, under = _pixels(overlay), _pixels(original)
    if blended.shape != under.shape:
        return False
    heat = ((blended - (1 - alpha) * under) / alpha).reshape(-1, 1, 3)
    steps = np.linspace(0, 1, 256)
    line = 255 * np.stack([np.interp(steps, *channel) for channel in LINES[colormap]], axis=1)
    return bool(np.abs(heat - line).max(axis=2).min(axis=1).max() <= 1 / alpha + SLACK)


def _pixels(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)

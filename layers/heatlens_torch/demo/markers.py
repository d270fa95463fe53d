"""Draw distractors of both classes: letters, plates, leads and discs, as opaqueness `[size, size]`."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from heatlens_torch.demo.anatomy import Field

Point = tuple[float, float]

_LETTERS: dict[str, tuple[tuple[Point, ...], ...]] = {
    "L": (((0, 0), (0, 1), (0.6, 1)),),
    "R": (((0, 1), (0, 0), (0.5, 0.05), (0.55, 0.3), (0.45, 0.5), (0, 0.52), (0.6, 1)),),
    "A": (((0, 1), (0.35, 0), (0.7, 1)), ((0.15, 0.6), (0.55, 0.6))),
    "P": (((0, 1), (0, 0), (0.5, 0.05), (0.55, 0.3), (0.45, 0.5), (0, 0.52)),),
    "T": (((0, 0), (0.7, 0)), ((0.35, 0), (0.35, 1))),
}
_SHARP_PIXELS = 900


class Plate:
    """A transparent film of the phantom's size on which distractors are drawn.

    Drawn several times larger and averaged down, so that thin lines look alike at every resolution.
    Positions and lengths are parts of the image's side.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn = size * max(2, round(_SHARP_PIXELS / size))
        self._film = Image.new("L", (self._drawn, self._drawn))
        self._pen = ImageDraw.Draw(self._film)

    def line(self, points: list[Point], width: float, strength: int) -> None:
        """Draw a line through points with round joints; strength 255 hides what lies below."""
        scaled = [(x * self._drawn, y * self._drawn) for x, y in points]
        self._pen.line(scaled, fill=strength, width=max(1, round(width * self._drawn)), joint="curve")

    def polygon(self, points: list[Point], strength: int) -> None:
        """Fill a polygon."""
        self._pen.polygon([(x * self._drawn, y * self._drawn) for x, y in points], fill=strength)

    def disc(self, center: Point, radius: float, strength: int) -> None:
        """Fill a disc."""
        (x, y), drawn = center, self._drawn
        box = ((x - radius) * drawn, (y - radius) * drawn, (x + radius) * drawn, (y + radius) * drawn)
        self._pen.ellipse(box, fill=strength)

    def develop(self) -> Field:
        """Return the opaqueness, 0 to 1, [size, size]."""
        film = self._film.reduce(self._drawn // self._size)
        return np.asarray(film, dtype=np.float32) * np.float32(1 / 255)


def markers(rng: np.random.Generator, size: int) -> Field:
    """Draw one to eight distractors, independent of the class.

    Args:
        rng: stream of its own, so that the class does not shift it.
        size: side in pixels.

    Returns:
        Opaqueness from 0 to 1, [size, size].
    """
    plate = Plate(size)
    _letter(rng, plate)
    for draw, most in ((_rectangle, 1), (_lead, 2), (_disc, 4)):
        for _ in range(rng.integers(0, most + 1)):
            draw(rng, plate)
    return plate.develop()


def _letter(rng: np.random.Generator, plate: Plate) -> None:
    strokes = _LETTERS[str(rng.choice(list(_LETTERS)))]
    height, anywhere = rng.uniform(0.05, 0.1), rng.random() < 0.3
    left, top = rng.uniform(0.05, 0.85, 2)
    if not anywhere:
        left, top = rng.choice((0.05, 0.87)) + rng.uniform(-0.02, 0.02), rng.uniform(0.03, 0.12)
    for stroke in strokes:
        plate.line([(left + height * x, top + height * y) for x, y in stroke], height * 0.16, 255)


def _rectangle(rng: np.random.Generator, plate: Plate) -> None:
    (x, y), half, turn = rng.uniform(0.08, 0.92, 2), rng.uniform(0.01, 0.04, 2), rng.uniform(0, np.pi)
    along, across = half[0] * np.array((np.cos(turn), np.sin(turn))), half[1] * np.array((-np.sin(turn), np.cos(turn)))
    corners = [along + across, along - across, -along - across, across - along]
    plate.polygon([(float(x + dx), float(y + dy)) for dx, dy in corners], int(rng.integers(150, 256)))


def _lead(rng: np.random.Generator, plate: Plate) -> None:
    """Draw a quadratic Bezier curve from edge to somewhere inside, as a lead or a tube lies."""
    start = np.array((rng.uniform(0, 1), rng.choice((0.0, 1.0))))
    bend, end = rng.uniform(0.1, 0.9, 2), rng.uniform(0.2, 0.8, 2)
    t = np.linspace(0, 1, 25)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    plate.line([(float(x), float(y)) for x, y in curve], rng.uniform(0.004, 0.009), int(rng.integers(110, 220)))
    plate.disc((float(end[0]), float(end[1])), rng.uniform(0.008, 0.018), int(rng.integers(150, 256)))


def _disc(rng: np.random.Generator, plate: Plate) -> None:
    x, y = rng.uniform(0.1, 0.9, 2)
    plate.disc((float(x), float(y)), rng.uniform(0.01, 0.028), int(rng.integers(120, 256)))

"""Draw the soft profile `[size, size]` of one opacity inside the lung field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heatlens_torch.demo.anatomy import Field, Patient

CONTRASTS = (0.14, 0.32)
"""Peak brightness of an opacity over its surroundings, as a part of the image's range."""

_RADII = (0.09, 0.26)
_HARMONICS = (2, 3, 5)


@dataclass(frozen=True)
class Opacity:
    """One opacity in the image's coordinates (-1 to 1), the same at every resolution."""

    center: tuple[float, float]
    radius: float
    stretch: float
    angle: float
    sharpness: float
    waves: tuple[float, ...]
    phases: tuple[float, ...]
    contrast: float

    def profile(self, lungs: Field) -> Field:
        """Draw the opacity, ended by the edge of the lung.

        The profile is 1 / (1 + rho^p): rho is the distance from the center over the outline's radius in that
        direction, p the sharpness; one half lies on the outline.

        Args:
            lungs: lung field (0 to 1), [size, size].

        Returns:
            Profile from 0 to 1, [size, size].
        """
        size = lungs.shape[0]
        profile = np.zeros_like(lungs)
        rows, columns = self._window(self.center[1], size), self._window(self.center[0], size)
        rho = self._rho(_axis(columns, size)[None, :], _axis(rows, size)[:, None])
        profile[rows, columns] = lungs[rows, columns] / (1 + rho**self.sharpness)
        return profile

    def _window(self, center: float, size: int) -> slice:
        # Beyond three radii the profile is below 0.002; drawing only there is what keeps large images fast.
        reach = 3 * self.radius * self.stretch
        first, last = (int((center + side * reach + 1) / 2 * size) for side in (-1, 1))
        return slice(max(first, 0), min(last + 1, size))

    def _rho(self, x: Field, y: Field) -> Field:
        """Divide the distance from the center by the outline's radius in that direction."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        dx, dy = x - np.float32(self.center[0]), y - np.float32(self.center[1])
        u, v = (cos * dx + sin * dy) * np.float32(1 / self.stretch), (cos * dy - sin * dx) * np.float32(self.stretch)
        direction = np.arctan2(v, u)
        outline = np.ones_like(direction)
        for harmonic, wave, phase in zip(_HARMONICS, self.waves, self.phases, strict=True):
            outline += np.float32(wave) * np.cos(harmonic * direction + np.float32(phase))
        return (np.hypot(u, v) / (outline * np.float32(self.radius))).astype(np.float32)


def draw_opacity(rng: np.random.Generator, patient: Patient) -> Opacity:
    """Draw an opacity with its center well inside one of the patient's lungs."""
    side = rng.choice((-1.0, 1.0))
    center = patient.place(side * rng.uniform(0.36, 0.55), rng.uniform(-0.45, 0.3))
    return Opacity(
        center=center,
        radius=rng.uniform(*_RADII),
        stretch=rng.uniform(1.0, 1.25),
        angle=rng.uniform(0, np.pi),
        sharpness=rng.uniform(4, 8),
        waves=tuple(rng.uniform(0, (0.14, 0.1, 0.06))),
        phases=tuple(rng.uniform(0, 2 * np.pi, len(_HARMONICS))),
        contrast=rng.uniform(*CONTRASTS),
    )


def _axis(window: slice, size: int) -> Field:
    return ((np.arange(window.start, window.stop, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)

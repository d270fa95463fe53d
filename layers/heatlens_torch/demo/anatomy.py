"""Draw chest anatomy: the radiograph's density and the lung field, both `[size, size]`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

_RIB_PITCH = 0.165
_RIB_DENSITY = 0.09


@dataclass(frozen=True)
class Patient:
    """How the patient stands before the detector, the same at every resolution.

    Lengths are in half image sides: the image spans -1 to 1 on both axes, y downwards.
    """

    angle: float
    scale: float
    shift: tuple[float, float]
    dome: float
    width: float
    heart: tuple[float, float, float]
    hilum: float
    ribs: float

    def see(self, size: int) -> tuple[Field, Field]:
        """Return the patient's coordinates of every pixel center, x and y, each [size, size]."""
        axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
        cos, sin = np.cos(self.angle) / self.scale, np.sin(self.angle) / self.scale
        column, row = axis[None, :] - np.float32(self.shift[0]), axis[:, None] - np.float32(self.shift[1])
        return np.float32(cos) * column + np.float32(sin) * row, np.float32(cos) * row - np.float32(sin) * column

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the image position (-1 to 1) of a point in the patient's coordinates: the inverse of `see`."""
        cos, sin = np.cos(self.angle) * self.scale, np.sin(self.angle) * self.scale
        return float(cos * x - sin * y + self.shift[0]), float(sin * x + cos * y + self.shift[1])


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw a patient: up to 6 degrees of rotation, 92 to 108 % scale, and the proportions of the organs."""
    angle, scale = np.deg2rad(rng.uniform(-6, 6)), rng.uniform(0.92, 1.08)
    shift = (rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05))
    heart = (rng.uniform(0.08, 0.16), rng.uniform(0.26, 0.36), rng.uniform(0.85, 1.15))
    return Patient(
        angle=float(angle),
        scale=scale,
        shift=shift,
        dome=rng.uniform(0.5, 0.62),
        width=rng.uniform(0.92, 1.08),
        heart=heart,
        hilum=rng.uniform(0.04, 0.12),
        ribs=rng.uniform(0.6, 1.3),
    )


def chest(patient: Patient, x: Field, y: Field) -> tuple[Field, Field]:
    """Compose the chest from simple densities, back to front.

    Args:
        patient: the proportions.
        x: the patient's horizontal coordinate of every pixel, [size, size].
        y: the patient's vertical coordinate of every pixel, [size, size].

    Returns:
        Density (0 is air, 1 is metal) and lung field (0 to 1), both [size, size].
    """
    side = np.abs(x)
    body = _body(side, y)
    lungs = _lungs(patient, x, side, y)
    density: Field = body * (_step(y - patient.dome, 0.5) * np.float32(0.09) + np.float32(0.56)) + np.float32(0.03)
    density += lungs * (0.2 - density + 0.07 * _step(-y, 1.2))
    density += _ribs(side, y) * (patient.ribs * body) + _clavicles(side, y)
    density += _hila(side, y) * patient.hilum
    return _mediastinum(patient, density, x, side, y), lungs


def _step(value: Field, edge: float) -> Field:
    """Rise smoothly from 0 to 1 while `value` goes from -edge/2 to edge/2."""
    ramp: Field = np.clip(value * np.float32(1 / edge) + np.float32(0.5), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _bell(value: Field) -> Field:
    bell: Field = np.exp(-(value * value))
    return bell


def _body(side: Field, y: Field) -> Field:
    shoulders = 0.26 + 0.74 * _step(y + 0.83, 0.3)
    return _step(shoulders - side, 0.05)


def _lungs(patient: Patient, x: Field, side: Field, y: Field) -> Field:
    half_width = patient.width * (0.2 + 0.12 * _step(y + 0.25, 0.9))
    across, along = (side - 0.45) / half_width, (y + 0.02) * np.float32(1 / 0.74)
    inside = 1 - across * across - along * along * along * along
    domes = np.sign(x) * np.float32(0.03) + patient.dome
    diaphragm = domes + 0.9 * (side - 0.4) * (side - 0.4) - y
    return _step(inside - 0.1, 0.4) * _step(diaphragm, 0.04)


def _ribs(side: Field, y: Field) -> Field:
    """Posterior ribs arch over the lungs, anterior ribs run down towards the middle and are fainter."""
    posterior = (y - 0.55 * (side - 0.28) * (side - 0.28)) * np.float32(1 / _RIB_PITCH)
    anterior = (y + 0.55 * (side - 0.8)) * np.float32(1 / _RIB_PITCH)
    cage = _step(0.84 - side, 0.06) * _step(0.76 - np.abs(y + 0.06), 0.1)
    back = _bell((posterior - np.rint(posterior)) * np.float32(4.2))
    front = _bell((anterior - np.rint(anterior)) * np.float32(3.6)) * _step(side - 0.38, 0.2)
    bones: Field = (back + 0.5 * front) * cage * np.float32(_RIB_DENSITY)
    return bones


def _clavicles(side: Field, y: Field) -> Field:
    bone = _bell((y + 0.56 + 0.24 * (side - 0.1)) * np.float32(1 / 0.032))
    return bone * _step(side - 0.1, 0.05) * _step(0.78 - side, 0.1) * np.float32(0.13)


def _hila(side: Field, y: Field) -> Field:
    return _bell((side - 0.21) * np.float32(1 / 0.09)) * _bell((y - 0.02) * np.float32(1 / 0.17))


def _mediastinum(patient: Patient, density: Field, x: Field, side: Field, y: Field) -> Field:
    """Lay the great vessels, the heart and the spine over the chest, with the airway as a dark stripe."""
    vessels = _step(0.14 + 0.05 * _step(y, 1.0) - side, 0.06) * _step(0.95 + y, 0.3)
    center_x, center_y, swell = patient.heart
    u, v = x - np.float32(center_x), y - np.float32(center_y)
    long, short = (u + 0.45 * v) * np.float32(1 / (0.33 * swell)), (v - 0.35 * u) * np.float32(1 / (0.27 * swell))
    heart = _step(1 - long * long - short * short, 0.5) * _step(patient.dome + 0.12 - y, 0.1)
    soft = np.maximum(vessels, heart)
    density = density + soft * np.maximum(0.66 - density, 0) * np.float32(0.92)
    vertebrae = 0.8 + 0.2 * np.cos(y * np.float32(2 * np.pi / 0.15))
    density += _step(0.085 - side, 0.05) * vertebrae * np.float32(0.12)
    return density - _bell(x * np.float32(1 / 0.045)) * _step(-0.3 - y, 0.12) * np.float32(0.14)

"""Compare an engine's explanation of a generated image with the one that the card holds."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heatlens.card import Card, Golden, Layer, Preprocess
from heatlens.engines.base import Engine
from heatlens.engines.default_map import explain_by_default, predicted_selector
from heatlens.errors import CardError, EngineError
from heatlens.types import Floats
from heatlens.values import input_of

COARSE = 8  # cells per side of the smooth part
GRAIN = 16  # gray levels of the fine part
# The least correlation of the signed map with float32's at a lower precision. On real networks the least of 32 images
# was 0.9977 for bf16 and 0.959 for int8 (decision 15); 8-bit products that saturate reach 0.54.
LEAST_CORRELATION = {"bf16": 0.95, "int8": 0.9}


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """Result of the comparison at start: `passed`, `not checked`, or `fell back` to another engine or precision.

    `reason` says why not, or what was found; `difference` is the largest of the layers'.
    """

    status: str = "not checked"
    reason: str = "the card has no golden explanation: compile the model again"
    difference: float | None = None


class GoldenMismatchError(Exception):
    """The engine's explanation is not the card's; the message says by how much."""


def golden_pixels(seed: int, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Make a smooth random image with fine grain, `[H,W,3]`, by integers alone: the same bytes everywhere."""
    height, width = shape
    coarse = _random(f"{seed} coarse", COARSE * COARSE * 3).reshape(COARSE, COARSE, 3).astype(np.int64)
    smooth = _stretched(_stretched(coarse, height).swapaxes(0, 1), width).swapaxes(0, 1)
    grain = _random(f"{seed} grain", height * width).reshape(height, width, 1) % (2 * GRAIN + 1)
    return np.clip(smooth + grain.astype(np.int64) - GRAIN, 0, 255).astype(np.uint8)


def golden_input(pixels: npt.NDArray[np.uint8], recipe: Preprocess) -> Floats:
    """Compute the values of pixels as the recipe does, `[1,C,H,W]`; they have the input's size already."""
    return input_of(pixels, recipe)[None]


def explain_golden(
    engine: Engine, batch: Floats, selector: Floats, *, shape: tuple[int, ...] | None = None
) -> tuple[Floats, Floats]:
    """Return the logits `[1,K]` and the signed map `[1,h,w]` of the default method.

    Raises:
        EngineError: The activation or its gradient has another shape than `[C,h,w]` of the card.
    """
    found = explain_by_default(engine, batch, selector)
    answered = [found.activation.shape, *([] if found.gradient is None else [found.gradient.shape])]
    if shape is not None and any(each != (1, *shape) for each in answered):
        raise EngineError("the graphs answer other shapes than the card says: compile the model again")
    return found.logits, found.signed_map


def check_golden(engine: Engine, card: Card, layer: Layer) -> float | None:
    """Explain the layer's golden image and compare; return the difference, `None` where the card has none.

    Raises:
        GoldenMismatchError: The explanation is another.
        CardError: The image cannot be made as it was.
        EngineError: The graphs have other shapes than the card says.
    """
    golden = layer.golden
    if golden is None:
        return None
    pixels = golden_pixels(golden.seed, card.preprocess.shape)
    if hashlib.sha256(pixels.tobytes()).hexdigest() != golden.sha256:
        raise CardError(f"the golden image of {layer.name!r} is another than its card says: compile the model again")
    expected, heat = decoded(golden.logits, (1, card.logits)), decoded(golden.signed_map, (1, *layer.shape[1:]))
    batch = golden_input(pixels, card.preprocess)
    logits, found = explain_golden(engine, batch, predicted_selector(expected), shape=layer.shape)
    if engine.precision == "f32":
        return _compare_exactly(golden, layer.name, [("logits", logits, expected), ("map", found, heat)])
    return _compare_loosely(engine.precision, layer.name, found, heat)


def encoded(values: Floats) -> str:
    """Write float32 values, little-endian, as base64."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def decoded(text: str, shape: tuple[int, ...]) -> Floats:
    """Read what `encoded` wrote.

    Raises:
        CardError: It has another number of values.
    """
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4").reshape(shape).astype(np.float32)
    except ValueError as error:
        raise CardError("the golden explanation in the card is damaged: compile the model again") from error


def _compare_exactly(golden: Golden, layer: str, pairs: Sequence[tuple[str, Floats, Floats]]) -> float:
    differences = {}
    for name, ours, theirs in pairs:
        scale = float(np.abs(theirs).max())
        differences[name] = float(np.abs(ours - theirs).max()) / scale if scale > 0 else float(np.abs(ours).max())
    worst = max(differences, key=lambda name: np.nan_to_num(differences[name], nan=np.inf))
    if not differences[worst] <= golden.tolerance:
        raise GoldenMismatchError(
            f"the {worst} of {layer!r} for the card's golden image differs by {differences[worst]:.1e} of its largest "
            f"value (allowed {golden.tolerance:.0e})"
        )
    return differences[worst]


def _compare_loosely(precision: str, layer: str, ours: Floats, theirs: Floats) -> float:
    least = LEAST_CORRELATION[precision]
    found = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) if np.ptp(ours) > 0 and ours.size > 1 else 0.0
    if not found >= least:
        raise GoldenMismatchError(
            f"the map of {layer!r} for the card's golden image correlates {found:.2f} with that in f32 "
            f"(at least {least})"
        )
    return 1 - found


def _random(name: str, count: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(hashlib.shake_256(f"heatlens golden {name}".encode()).digest(count), np.uint8)


def _stretched(values: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Interpolate the first axis linearly, in 256ths."""
    at = np.arange(length) * (len(values) - 1) * 256 // max(length - 1, 1)
    low = np.minimum(at >> 8, len(values) - 2)
    part = (at - (low << 8)).reshape(-1, *[1] * (values.ndim - 1))
    stretched: npt.NDArray[np.int64] = (values[low] * (256 - part) + values[low + 1] * part) >> 8
    return stretched

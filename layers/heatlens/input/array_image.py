"""Make a NumPy array or a PyTorch tensor a Pillow image, by its type and shape."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from heatlens.errors import UnreadableImage

Array = npt.NDArray[Any]
_MAX_8_BIT, _MAX_16_BIT = 255, 65535
_MODES = {2: "LA", 3: "RGB", 4: "RGBA"}
_LAYOUT = "an array is [H,W], [H,W,1], [H,W,2] with alpha, [H,W,3] or [H,W,4] with alpha"


@runtime_checkable
class Tensor(Protocol):
    """What is used of a PyTorch tensor; the core does not import torch."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    def detach(self) -> "Tensor":
        """Leave the graph of gradients."""

    def cpu(self) -> "Tensor":
        """Copy to this machine's memory."""

    def float(self) -> "Tensor":
        """Convert to float32."""

    def is_floating_point(self) -> bool:
        """Whether its values are floats, of any width."""

    def numpy(self) -> Array:
        """Return its values."""


def tensor_array(tensor: Tensor) -> Array:
    """Return the values of a tensor `[H,W]` or `[C,H,W]` with the channels last; half precision becomes float32."""
    plain = tensor.detach().cpu()
    values = (plain.float() if plain.is_floating_point() else plain).numpy()
    return np.moveaxis(values, 0, -1) if values.ndim == 3 else values


def array_image(values: Array, *, keep_floats: bool) -> Image.Image:
    """Make an array an image.

    Args:
        values: `[H,W]`, or channels last. `bool`; `uint8`; integers of more bits, which in grayscale are a
            high-bit-depth image and in color 0 to 65535 for `uint16`, else 0 to 255; floats in 0 to 1.
        keep_floats: Keep grayscale floats of any range, because a window or the model says what they mean.

    Raises:
        UnreadableImage: No image has such a shape or type, or the values are out of range.
    """
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, *_MODES):
        raise UnreadableImage(f"{_LAYOUT}, and not {list(values.shape)}{_advice(values)}")
    if not values.size:
        raise UnreadableImage(f"the array {list(values.shape)} has no pixels")
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(_MAX_8_BIT)
    if values.dtype.kind not in "iuf":
        raise UnreadableImage(f"an array of type {values.dtype} is no image: give integers, floats or bool")
    if channels > 1:
        return Image.fromarray(_color(values), _MODES[channels])
    return Image.fromarray(_gray(values, keep_floats=keep_floats))


def _advice(values: Array) -> str:
    first = values.ndim == 3 and values.shape[0] in (1, *_MODES)
    return ": move its channels last by np.moveaxis(array, 0, -1)" if first else ""


def _gray(values: Array, *, keep_floats: bool) -> Array:
    if values.dtype.kind == "f":
        return values.astype(np.float32) if keep_floats else _unit_levels(values, "give window=(center, width)")
    if values.dtype == np.uint8:
        return values
    lowest, highest = int(values.min()), int(values.max())
    if lowest >= 0 and highest <= _MAX_16_BIT:
        return values.astype(np.uint16)
    if lowest < np.iinfo(np.int32).min or highest > np.iinfo(np.int32).max:
        raise UnreadableImage(f"the array has values from {lowest} to {highest}, which 32 bits do not hold")
    return values.astype(np.int32)


def _color(values: Array) -> npt.NDArray[np.uint8]:
    if values.dtype.kind == "f":
        return _unit_levels(values, "scale them")
    if values.dtype == np.uint16:
        return np.rint(values / np.float32(_MAX_16_BIT) * _MAX_8_BIT).astype(np.uint8)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > _MAX_8_BIT:
        raise UnreadableImage(f"color of type {values.dtype} has values 0 to 255, and not {lowest} to {highest}")
    return values.astype(np.uint8)


def _unit_levels(values: Array, advice: str) -> npt.NDArray[np.uint8]:
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= 1):  # also not a number
        raise UnreadableImage(f"floats are 0 to 1, and not {lowest:g} to {highest:g}: {advice}")
    levels: npt.NDArray[np.uint8] = np.rint(values * _MAX_8_BIT).astype(np.uint8)
    return levels

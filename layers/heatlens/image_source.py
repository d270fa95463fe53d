"""Read what Python callers give as images: bytes, paths, open files, Pillow images, arrays and tensors."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from heatlens.errors import FileTooLarge, HeatlensError, UnreadableImage
from heatlens.input.array_image import Tensor, array_image, tensor_array
from heatlens.input.pillow_image import image_file
from heatlens.types import Upload

UNNAMED = "unknown"


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, `io.BytesIO` or a response's body."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""


ImageSource = (
    bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryFile | Image.Image | npt.NDArray[Any] | Tensor
)
_ONE_IMAGE = (bytes, bytearray, memoryview, str, os.PathLike, BinaryFile, Image.Image, np.ndarray, Tensor)
_IMAGE_AXES = 3  # an array with more is several images


def is_image(given: object) -> TypeGuard[ImageSource]:
    """Whether something is one image; an array or tensor of four axes is several."""
    if isinstance(given, np.ndarray | Tensor):
        return given.ndim <= _IMAGE_AXES
    return isinstance(given, _ONE_IMAGE)


def list_images(images: object) -> list[ImageSource]:
    """List several images.

    Raises:
        TypeError: One of them is no image.
    """
    listed: list[object] = [images] if isinstance(images, Mapping) or not isinstance(images, Iterable) else list(images)
    if wrong := [item for item in listed if not is_image(item)]:
        raise TypeError(
            "an image is the bytes of a file, a path, an open file, a Pillow image, a NumPy array or a tensor, and "
            f"not {type(wrong[0]).__name__}"
        )
    return cast("list[ImageSource]", listed)


def read_source(image: ImageSource, max_bytes: int, *, keep_floats: bool) -> Upload | HeatlensError:
    """Read one image to the bytes of a file; an image that cannot be read is its error.

    Args:
        image: The image.
        max_bytes: Largest file.
        keep_floats: As `array_image`.
    """
    try:
        return _read(image, max_bytes, keep_floats=keep_floats)
    except HeatlensError as error:
        return error


def _read(image: ImageSource, max_bytes: int, *, keep_floats: bool) -> Upload:
    if isinstance(image, Tensor):
        image = tensor_array(image)
    if isinstance(image, np.ndarray):
        image = array_image(image, keep_floats=keep_floats)
    if isinstance(image, Image.Image):
        return Upload(UNNAMED, image_file(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return _limited(UNNAMED, bytes(image), max_bytes)
    if isinstance(image, str | os.PathLike):
        return _read_path(Path(image), max_bytes)
    return _limited(_name_of(image), _read_open(image, max_bytes), max_bytes)


def _read_path(path: Path, max_bytes: int) -> Upload:
    try:
        with path.open("rb") as file:
            return _limited(path.name, file.read(max_bytes + 1), max_bytes)
    except OSError as error:
        raise UnreadableImage(f"{path.name}: {error.strerror or 'cannot be read'}") from error


def _read_open(file: BinaryFile, max_bytes: int) -> bytes:
    data = b""
    try:
        while len(data) <= max_bytes and (chunk := file.read(max_bytes + 1 - len(data))):  # raw files read less
            if not isinstance(chunk, bytes):
                raise UnreadableImage(f"{_name_of(file)}: open the file in binary mode, 'rb'")
            data += chunk
    except (OSError, ValueError) as error:  # a closed file is a ValueError
        raise UnreadableImage(f"{_name_of(file)}: {error}") from error
    return data


def _name_of(file: BinaryFile) -> str:
    name = getattr(file, "name", None)
    return Path(name).name if isinstance(name, str) else UNNAMED


def _limited(name: str, data: bytes, max_bytes: int) -> Upload:
    if len(data) > max_bytes:
        raise FileTooLarge(f"{name} has more than {max_bytes} bytes")
    return Upload(name, data)

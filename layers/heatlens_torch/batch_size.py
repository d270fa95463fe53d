"""Choose how many images a compile runs at once: large images take the memory of many small ones."""

from collections.abc import Iterator

import numpy as np

from heatlens.types import Floats

PIXELS = 2 * 1024 * 1024  # of a batch: 2 images of 1024x1024, 8 of 512x512, 41 of 224x224


def limit_batch(images: int, height: int, width: int) -> int:
    """Return `images`, or for large ones fewer, at least one."""
    return max(1, min(images, PIXELS // (height * width)))


def in_batches(images: Floats, most: int) -> Iterator[Floats]:
    """Yield batches of `[N,C,H,W]`, of `most` images or, of large ones, fewer."""
    size = limit_batch(most, *images.shape[2:])
    for start in range(0, len(images), size):
        yield images[start : start + size]


def divide(images: Floats, most: int) -> list[Floats]:
    """Divide `[N,C,H,W]` into equal batches of about `limit_batch(most, H, W)`, none of a single image.

    A BatchNorm takes the variance of each.
    """
    size = max(2, limit_batch(most, *images.shape[2:]))
    return np.array_split(images, max(1, len(images) // size))

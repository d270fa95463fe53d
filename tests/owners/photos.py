"""Crops of scikit-learn's two photos as training data, and both side by side as the picture to explain."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from heatlens.card import Preprocess
from heatlens_torch.loading.network import stack

CLASSES = ("temple", "flower")
SIDES = (90, 300)  # of a crop, in pixels
HALF = 320


def photos() -> list[Image.Image]:
    """Return the photo of each class."""
    return [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


def crops(count: int, recipe: Preprocess, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut squares of all sizes out of both photos: preprocessed images `[N,C,H,W]`, and classes `[N]`."""
    rng, whole = np.random.default_rng(seed), photos()
    labels = np.arange(count) % len(whole)
    images = [_crop(whole[label], rng) for label in labels]
    return torch.from_numpy(stack(images, recipe)), torch.from_numpy(labels)


def pair() -> Image.Image:
    """Put the middle squares of both photos side by side, the temple on the left."""
    both = Image.new("RGB", (2 * HALF, HALF))
    for place, (photo, left) in enumerate(zip(photos(), (160, 210), strict=True)):
        both.paste(photo.crop((left, 50, left + HALF, 50 + HALF)), (place * HALF, 0))
    return both


def _crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(*SIDES))
    left, top = int(rng.integers(0, photo.width - side)), int(rng.integers(0, photo.height - side))
    return photo.crop((left, top, left + side, top + side))

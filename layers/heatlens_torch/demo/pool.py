"""Draw training data from seeds: pixels `[N, S, S, 3]`, opacity coverage `[N, h, w]` and labels `[N]`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from heatlens_torch.demo.phantoms import TRAIN_SEEDS, border, phantom, to_pil
from heatlens_torch.demo.pixels import SIZE, resized

GRID = SIZE // 8

# Uploads come in many sizes and each leaves another trace after the resize; the largest are left out to save time.
_RENDERED_SIZES = (192, 256, 320, 448)


@dataclass(frozen=True)
class Pool:
    """Examples in memory: pixels uint8 [N, S, S, 3], coverage float32 [N, h, w], labels float32 [N]."""

    pixels: NDArray[np.uint8]
    coverage: NDArray[np.float32]
    labels: NDArray[np.float32]


def draw_pool(count: int, *, seed: int) -> Pool:
    """Draw training phantoms with seeds that depend on `seed` alone.

    Args:
        count: number of examples.
        seed: picks the seeds out of `TRAIN_SEEDS`.
    """
    seeds = np.random.default_rng(seed).choice(len(TRAIN_SEEDS), count, replace=False) + TRAIN_SEEDS.start
    with ThreadPoolExecutor(2) as workers:
        pixels, coverage, labels = zip(*workers.map(_example, seeds.tolist()), strict=True)
    return Pool(np.stack(pixels), np.stack(coverage), np.array(labels, dtype=np.float32))


def _example(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], int]:
    drawn = phantom(seed, size=_RENDERED_SIZES[seed % len(_RENDERED_SIZES)])
    bars = border(seed, drawn.mask.shape[0])
    mask = ImageOps.expand(Image.fromarray(drawn.mask.astype(np.uint8) * 255), bars)
    coverage = np.asarray(mask.resize((GRID, GRID), Image.Resampling.BOX), dtype=np.float32) * np.float32(1 / 255)
    return resized(ImageOps.expand(to_pil(drawn), bars)), coverage, drawn.label

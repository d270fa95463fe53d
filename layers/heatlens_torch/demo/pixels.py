"""Preprocess 8-bit images for training as the service does, to a normalized tensor `[B, 3, S, S]`."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_PREPROCESS = tomllib.loads((files(__package__) / "model.toml").read_text("utf-8"))["preprocess"]

SIZE: int = _PREPROCESS["resize"][0]
"""Side in pixels of the network's input, as model.toml says."""


def resized(image: Image.Image) -> NDArray[np.uint8]:
    """Resize an 8-bit image as the service does: RGB, then bilinear. Returns [S, S, 3]."""
    rgb = image.convert("RGB")
    return np.array(rgb.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def normalized(pixels: NDArray[np.uint8]) -> Tensor:
    """Normalize pixels [B, S, S, 3] with model.toml's mean and standard deviation. Returns [B, 3, S, S]."""
    mean, std = (torch.tensor(_PREPROCESS[name], dtype=torch.float32) for name in ("mean", "std"))
    scaled = torch.from_numpy(pixels).to(torch.float32) / 255
    return ((scaled - mean) / std).permute(0, 3, 1, 2).contiguous()

"""Combine the signed maps [B,h,w] of several layers, each at its own grid, into heat [B,H,W] of the input's size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from heatlens.engines.default_map import explain_by_default
from heatlens.model import Model
from heatlens.types import Floats

_FLOOR = 1e-7  # pytorch-grad-cam adds it to the divisor


def explain(model: Model, batch: Floats, selector: Floats, layers: Sequence[str]) -> tuple[Floats, Floats]:
    """Explain images at several layers together.

    Args:
        model: A loaded model.
        batch: `[B,3,H,W]`, preprocessed.
        selector: `[B,K]`; a row of zeros is the predicted class.
        layers: Names of layers of the card, one or more.

    Returns:
        Logits `[B,K]` and the combined heat `[B,H,W]` in 0..1.

    Raises:
        CardError: The model was not compiled for a layer.
    """
    explained = [explain_by_default(model.engine_of(layer), batch, selector) for layer in layers]
    return explained[-1].logits, combined([each.signed_map for each in explained], batch.shape[2:])


def combined(signed_maps: Sequence[Floats], size: Sequence[int]) -> Floats:
    """Combine the maps of several layers as pytorch-grad-cam combines several `target_layers`.

    `scale(mean_l resize(scale(relu(s_l))))` per image, where `scale(m) = (m - min m) / (1e-7 + max (m - min m))` and
    `resize` is bilinear to the input's size; `BaseCAM.compute_cam_per_layer` and `aggregate_multi_layers` of
    pytorch-grad-cam.

    Args:
        signed_maps: Of each layer, `[B,h,w]`; the grids may differ.
        size: H and W of the network's input, no smaller than any grid.

    Returns:
        Float32 `[B,H,W]` in 0..1.
    """
    enlarged = [
        np.stack([_resize(_scale(np.maximum(signed_map, 0)), size) for signed_map in maps]) for maps in signed_maps
    ]
    mean: Floats = np.mean(enlarged, axis=0, dtype=np.float32)
    return np.stack([_scale(heat) for heat in mean])


def _scale(heat: Floats) -> Floats:
    shifted = heat - heat.min()
    scaled: Floats = shifted / (np.float32(_FLOOR) + shifted.max())
    return scaled


def _resize(heat: Floats, size: Sequence[int]) -> Floats:
    height, width = size
    resized: Floats = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR))
    return resized

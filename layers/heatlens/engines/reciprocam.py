"""Recipro-CAM: signed maps [T,h,w] without gradients, from one run of the tail per cell."""

from collections.abc import Sequence

import numpy as np

from heatlens.engines.base import Engine
from heatlens.types import Floats

RERUN_BATCH = 16  # channels or cells in a batch; each takes the memory of an image
# What a mask keeps around its cell: the 3x3 Gaussian of the paper's reference implementation.
KERNEL = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16


def reciprocam(engine: Engine, crossing: Sequence[Floats], selectors: Floats, batch: int) -> Floats:
    """`s_ij = y(A * M_ij) - y(0)`: the gain of the logit where only the cell i,j and a share of its neighbors remain.

    Byun and Lee, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks", 2022,
    arXiv:2209.14074, equations 2 and 3; of a transformer the class token crosses the cut beside the cells and is kept,
    as in "ViT-ReciproCAM", 2023, arXiv:2310.02588. The papers scale the scores from their least to their largest. Here
    the logit of an activation of zeros is subtracted instead, which keeps the order of the cells, and tells evidence
    for the class from evidence against it. Costs h*w + 1 runs of the tail, whatever the number of targets.

    Args:
        engine: Of the layer; only its logits are read.
        crossing: The trunk's outputs for one image, each `[1,...]`, the activation `[1,C,h,w]` first.
        selectors: One for each target, `[T,K]`, none of zeros.
        batch: Cells in a batch.
    """
    activation, *others = crossing
    height, width = activation.shape[2:]
    masks = np.concatenate([np.zeros((1, height, width), np.float32), _masks(height, width)])
    scores = np.empty((len(selectors), len(masks)), np.float32)
    for start in range(0, len(masks), batch):
        kept = masks[start : start + batch, None]
        beside = [np.repeat(other, len(kept), axis=0) for other in others]
        any_selector = np.repeat(selectors[:1], len(kept), axis=0)
        logits, _ = engine.tail([activation * kept, *beside], any_selector)
        scores[:, start : start + len(kept)] = selectors @ logits.T
    gains: Floats = scores[:, 1:] - scores[:, :1]
    return gains.reshape(len(selectors), height, width)


def _masks(height: int, width: int) -> Floats:
    """Make a mask for each cell, `[h*w,h,w]`, in reading order."""
    masks = np.zeros((height, width, height + 2, width + 2), np.float32)
    for row in range(height):
        for column in range(width):
            masks[row, column, row : row + 3, column : column + 3] = KERNEL
    return masks[:, :, 1:-1, 1:-1].reshape(height * width, height, width)

"""Compute the training losses from logits `[B]`, signed maps `[B, h, w]` and ground truth."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, relu

MAP_WEIGHT = 1.0
"""Weight of the map's loss against the class's."""

_COVERED_WEIGHT = 8.0
"""An opacity covers about one cell in thirty; without a weight an empty map is nearly right."""

_THRESHOLD = 3.0
"""What a cell must argue, in logits, to count as hot: a cell at 0 is then nearly right as background."""

_COUNTER_WEIGHT = 0.2
"""Price of a logit argued against the class beside an opacity: more than what sinking below 0 would still gain."""


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the logits [B] against the labels [B]."""
    return binary_cross_entropy_with_logits(logits, labels)


def map_loss(maps: Tensor, coverage: Tensor) -> Tensor:
    """Binary cross-entropy of the Grad-CAM map itself against the true opacity, and a price on arguing against it.

    A map times its number of cells is what each cell argues for the class, in units of the logit. It should be high
    where an opacity covers the cell and not elsewhere, in images of both classes. Where there is an opacity the rest
    of the image should argue nothing rather than the contrary: otherwise little of a map's evidence is positive.

    Args:
        maps: signed maps, [B, h, w].
        coverage: covered part of each cell, 0 to 1, [B, h, w].
    """
    arguments = maps * (maps.shape[1] * maps.shape[2])
    weight = 1 + (_COVERED_WEIGHT - 1) * coverage
    fit = binary_cross_entropy_with_logits(arguments - _THRESHOLD, coverage, weight=weight)
    opaque = (coverage.amax((1, 2), keepdim=True) > 0).float()
    return fit + _COUNTER_WEIGHT * (opaque * relu(-arguments)).mean()

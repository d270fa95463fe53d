"""Recognize gradients that differ because equal values are sorted: which of them comes first is arbitrary."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from heatlens.types import Floats

_SORTING = ("topk", "sort", "msort", "argsort")
_CELLS = (1, 2)  # dimensions of a gradient `[C,h,w]`


def cause(network: nn.Module, image: Floats, ours: Floats, theirs: Floats, *, allowed: float) -> str:
    """Say that equal values are sorted, for a refusal; nothing if that is not why the gradients differ.

    A ReLU makes many cells 0. Where the largest of them are taken, torch and an engine take other zeros: the gradient
    lies at other cells, and its sum over each channel is the same.

    Args:
        network: In evaluation mode.
        image: `[1,3,H,W]`, preprocessed.
        ours: The gradient `[C,h,w]` by the compiled graphs.
        theirs: The gradient by pytorch-grad-cam.
        allowed: How far they may differ, relative to the largest.
    """
    moved = np.abs(ours - theirs).max() > allowed * np.abs(theirs).max()
    sums = [each.sum(axis=_CELLS, dtype=np.float64) for each in (ours, theirs)]
    if not moved or np.abs(sums[0] - sums[1]).max() > allowed * np.abs(sums[1]).max():
        return ""
    with _Sorting() as sorting, torch.no_grad():
        network(torch.from_numpy(image))
    if not sorting.found:
        return ""
    return (
        f"; operator {sorting.found[0]} chooses among equal values, as the zeros of a ReLU, and each library takes "
        "others: the gradient has another place and the same sum over each channel; take a layer before the ReLU"
    )


class _Sorting(TorchFunctionMode):
    """Notes the operators that sort, in order, while the network runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - what the function answers
        name = getattr(func, "__name__", "").partition(".")[0]
        if name in _SORTING:
            self.found.append(name)
        return func(*args, **(kwargs or {}))

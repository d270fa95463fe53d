"""Let the sizes in an ONNX file that stand for its batch follow the images.

Exporters write the batch of their example into Reshape and Concat. The graph runs with the file's batch, and then with
a larger one that begins with the same images. Where a tensor has grown, its values tell where in memory the batch lies,
and so which size of a Reshape is the batch's.
"""

import math
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from heatlens_torch.loading.onnx_files.network import OnnxNetwork, OnnxNode
from heatlens_torch.loading.onnx_files.operators import concat, reshape
from heatlens_torch.loading.onnx_files.sizes import target_shape

GROWN = 3  # times the file's batch
SAME = 1e-3  # of the largest value: rounding in batches of another size stays below 1e-4


def learn_batch(network: OnnxNetwork, shape: tuple[int, ...]) -> None:
    """Find the sizes that grow with the batch, and note them in the nodes.

    Args:
        network: In evaluation mode; changed in place.
        shape: `[C,H,W]` of an image.
    """
    batch = network.signature.batch or 1
    images = torch.randn(GROWN * batch, *shape, generator=torch.Generator().manual_seed(0))
    with _Watching(network, batch) as watching, torch.no_grad():
        network(images[:batch])
        watching.grows = True
        network(images)


@dataclass(frozen=True, slots=True)
class _Growth:
    """Of a tensor: the dimension that has grown, and how many values lie before the batch in memory."""

    axis: int
    before: int


class _Watching:
    """Notes what Reshape and Concat nodes get, and compares when the batch has grown."""

    def __init__(self, network: nn.Module, batch: int) -> None:
        self.grows = False
        self._batch = batch
        self._given: dict[nn.Module, list[Any]] = {}
        self._nodes = [module for module in network.modules() if isinstance(module, OnnxNode)]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "_Watching":
        watched = [node for node in self._nodes if node.operator in (reshape, concat)]
        self._handles = [node.register_forward_pre_hook(self._watch) for node in watched]
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _watch(self, node: nn.Module, values: tuple[Any, ...]) -> None:
        assert isinstance(node, OnnxNode)
        now = node.arguments(values)
        if not self.grows:
            self._given[node] = now
        elif node.operator is reshape:
            _learn_reshape(node, self._given.pop(node), now, self._batch)
        else:
            _learn_concat(node, self._given.pop(node), now)


def _learn_reshape(node: OnnxNode, before: list[Any], now: list[Any], batch: int) -> None:
    (old, wanted), (new, still) = before[:2], now[:2]
    if not np.array_equal(wanted, still):
        return  # computed from the size of the batch already
    growth = _growth(old, new, batch)
    if growth is None:
        return
    shape = target_shape(old.shape, np.asarray(wanted).tolist())
    if -1 in shape:
        rest = -math.prod(shape)
        shape[shape.index(-1)] = old.numel() // rest if rest else 0
    target = _target(shape, list(old.shape), growth, batch)
    if target is not None and int(np.asarray(wanted)[target]) not in (-1, 0):
        node.given["batch"] = (growth.axis, old.shape[growth.axis], target, shape[target])


def _growth(old: torch.Tensor, new: torch.Tensor, batch: int) -> _Growth | None:
    """Find where the batch lies: outermost in the dimension that has grown, or innermost."""
    axis = next((i for i, pair in enumerate(zip(old.shape, new.shape, strict=True)) if pair[0] != pair[1]), None)
    if axis is None or new.shape[axis] != GROWN * old.shape[axis]:
        return None
    size = old.shape[axis]
    for inner in dict.fromkeys((size, batch)):
        parted = new.reshape(*old.shape[:axis], size // inner, GROWN, inner, *old.shape[axis + 1 :])
        parts = parted.select(axis + 1, 0).reshape(old.shape)
        if bool((parts - old).abs().max() <= SAME * old.abs().max()):
            return _Growth(axis, math.prod(old.shape[:axis]) * (size // inner))
    return None


def _target(shape: list[int], old: list[int], growth: _Growth, batch: int) -> int | None:
    """Return the size of a Reshape that holds the batch, which lies after `growth.before` values in memory.

    A size of the batch alone comes first. Where the batch can be the end of one size or the begin of the next, as in
    `[N,1,C]` to `[N,C]` or `[N,heads,C/heads]`, it is the end of the first, unless
    what follows is split into more sizes than before.
    """
    starts = [math.prod(shape[:i]) for i in range(len(shape))]
    begins = [i for i, start in enumerate(starts) if start == growth.before and shape[i] % batch == 0]
    ends = [i for i, start in enumerate(starts) if start * shape[i] == growth.before * batch]
    alone = [i for i in begins if shape[i] == batch]
    follows = old[growth.axis + 1 :]
    kept = [i for i in ends if len(shape) - i - 1 <= len(follows)]
    return next(iter((*alone, *kept, *begins, *ends)), None)


def _learn_concat(node: OnnxNode, before: list[Any], now: list[Any]) -> None:
    """Let constants be repeated for each image."""
    grown = {
        (i, axis)
        for i, (old, new) in enumerate(zip(before, now, strict=True))
        if isinstance(old, torch.Tensor)
        for axis, pair in enumerate(zip(old.shape, new.shape, strict=True))
        if pair[0] != pair[1]
    }
    axes, inputs = {axis for _, axis in grown}, {i for i, _ in grown}
    if len(axes) == 1 and axes != {node.given["axis"] % before[min(inputs)].dim()} and len(inputs) < len(before):
        constant = tuple(i for i in range(len(before)) if i not in inputs)
        node.given |= {"batch": axes.pop(), "batch_from": min(inputs), "batch_constant": constant}

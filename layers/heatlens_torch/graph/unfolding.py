"""Rewrite unfold and fold of a captured graph as convolutions: torch's own forms fix the batch while it is traced."""

from math import prod
from typing import Any

import torch
from torch import fx

from heatlens_torch.graph.rewriting import constant, replace

aten = torch.ops.aten


def rewrite_unfolding(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401 - fx types a node's arguments too widely
    """Replace `im2col` or `col2im` by a convolution of each channel with kernels of one 1; other nodes are left."""
    if node.target not in (aten.im2col.default, aten.col2im.default):
        return
    with captured.graph.inserting_before(node):
        rewritten = _unfold(captured, node) if node.target == aten.im2col.default else _fold(captured, node)
    replace(captured, node, rewritten)


def _unfold(captured: fx.GraphModule, node: Any) -> fx.Node:  # noqa: ANN401
    """Put each cell of a window into a channel of its own, `[B,C*k*k,h,w]`, then flatten the windows."""
    value, kernel, dilation, padding, stride = node.args
    channels = int(value.meta["val"].shape[1])
    weight = _one_hot(captured, node, kernel, channels)
    call = captured.graph.call_function
    cells = call(aten.convolution.default, (value, weight, None, stride, padding, dilation, False, [0, 0], channels))
    return call(aten.flatten.using_ints, (cells, 2, 3))


def _fold(captured: fx.GraphModule, node: Any) -> fx.Node:  # noqa: ANN401
    """Put each window back in its place, and sum where windows overlap."""
    value, output, kernel, dilation, padding, stride = node.args
    reached = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    grid = [
        (size + 2 * pad - span) // step + 1
        for size, pad, span, step in zip(output, padding, reached, stride, strict=True)
    ]
    missing = [
        size - ((count - 1) * step + span - 2 * pad)
        for size, count, step, span, pad in zip(output, grid, stride, reached, padding, strict=True)
    ]
    channels = int(value.meta["val"].shape[1]) // prod(kernel)
    weight = _one_hot(captured, node, kernel, channels)
    call = captured.graph.call_function
    cells = call(aten.unflatten.int, (value, 2, grid))
    return call(aten.convolution.default, (cells, weight, None, stride, padding, dilation, True, missing, channels))


def _one_hot(captured: fx.GraphModule, node: Any, kernel: list[int], channels: int) -> fx.Node:  # noqa: ANN401
    count = prod(kernel)
    kernels = torch.eye(count).reshape(count, 1, *kernel).repeat(channels, 1, 1, 1)
    return constant(captured, f"{node.name}_cells", kernels)

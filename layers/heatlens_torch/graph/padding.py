"""Rewrite padding that fixes the batch while it is traced: reflected, repeated and circular cells, and `same`."""

from typing import Any

import torch
from torch import fx
from torch.nn import functional

from heatlens_torch.graph.rewriting import constant, replace

aten = torch.ops.aten
MODES = ("reflect", "replicate", "circular")


def rewrite_padding(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401 - fx types arguments too widely
    """Replace one padding, or a convolution that pads to the `same` size; other nodes are left."""
    with captured.graph.inserting_before(node):
        if node.target == aten.conv2d.padding:
            result = _same(captured, node)
        elif node.target == aten.pad.default and len(node.args) > 2 and node.args[2] in MODES:
            result = _repeated(captured, node)
        else:
            return
    replace(captured, node, result)


def _repeated(captured: fx.GraphModule, node: Any) -> fx.Node:  # noqa: ANN401
    """Copy cells to the margins by a product with a matrix of zeros and ones for each padded axis."""
    value, widths, mode = node.args[:3]
    shape, call = value.meta["val"].shape, captured.graph.call_function
    for axis, margin in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        if not any(margin):
            continue
        size = int(shape[-1 - axis])
        copies = functional.pad(torch.eye(size)[None], margin, mode=mode)[0]
        matrix = constant(captured, f"{node.name}_copies_{axis}", copies)
        if axis == 0:
            value = call(aten.matmul.default, (value, matrix))
        else:
            turned = call(aten.transpose.int, (value, -1, -1 - axis))
            value = call(aten.transpose.int, (call(aten.matmul.default, (turned, matrix)), -1, -1 - axis))
    assert isinstance(value, fx.Node)
    return value


def _same(captured: fx.GraphModule, node: Any) -> fx.Node:  # noqa: ANN401
    """Pad both sides by what the wider one needs, and drop the outputs that are too many."""
    value, weight, *others = node.args
    defaults: tuple[Any, ...] = (None, [1, 1], "valid", [1, 1], 1)
    bias, stride, padding, dilation, groups = tuple(others) + defaults[len(others) :]
    kernel, call = weight.meta["val"].shape[2:], captured.graph.call_function
    dilation = [int(dilation[0]), int(dilation[-1])]
    totals = [d * (int(k) - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    wider = [total - total // 2 for total in totals]
    result = call(aten.conv2d.default, (value, weight, bias, stride, wider, dilation, groups))
    for dim, total in enumerate(totals, start=2):
        if total % 2:
            result = call(aten.slice.Tensor, (result, dim, 1, int(value.meta["val"].shape[dim]) + 1))
    return result

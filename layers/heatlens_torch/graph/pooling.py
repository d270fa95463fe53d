"""Rewrite pooling operators of a captured graph in forms whose derivatives have a conversion to ONNX."""

from collections.abc import Callable
from operator import getitem
from typing import Any

import torch
from torch import fx

from heatlens_torch.graph.rewriting import between, replace

aten = torch.ops.aten


def rewrite_pooling(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401 - fx types a node's arguments too widely
    """Replace one pooling operator of the graph, if it is one; others are left."""
    rewrite = _REWRITES.get(node.target)
    if rewrite is None:
        return
    with captured.graph.inserting_before(node):
        pooled = rewrite(captured, node)
    if pooled is None:
        return
    replace(captured, node, pooled)


def averages(size: int, outputs: int) -> torch.Tensor:
    """Make the matrix `[outputs,size]` of adaptive average pooling along one axis.

    Row i averages the cells of `windows(size, outputs)[i]`.
    """
    matrix = torch.zeros(outputs, size)
    for row, (start, end) in enumerate(windows(size, outputs)):
        matrix[row, start:end] = 1 / (end - start)
    return matrix


def windows(size: int, outputs: int) -> list[tuple[int, int]]:
    """List the windows of adaptive pooling: the i-th from `floor(i*size/outputs)` to `ceil((i+1)*size/outputs)`."""
    return [(at * size // outputs, -(-(at + 1) * size // outputs)) for at in range(outputs)]


def _adaptive_average(captured: fx.GraphModule, node: Any) -> fx.Node:  # noqa: ANN401
    """Average by the mean or by matrices: the derivative of the general form has no conversion."""
    value, requested = node.args
    call, sizes, outputs = captured.graph.call_function, _sizes(value), tuple(int(size) for size in requested)
    if outputs == (1, 1):
        return call(aten.mean.dim, (value, [-2, -1], True))
    if outputs == sizes:
        return call(aten.clone.default, (value,))
    rows, columns = (averages(*pair) for pair in zip(sizes, outputs, strict=True))
    return between(captured, node, value, rows, columns.T.contiguous())


def _adaptive_maximum(captured: fx.GraphModule, node: Any) -> fx.Node | None:  # noqa: ANN401
    """Take the largest of each row's windows, then of each column's; the first of equal cells wins, as in torch."""
    values, indices = (next((use for use in node.users if use.args[1] == at), None) for at in (0, 1))
    if values is None or indices is not None:
        return None
    value, requested = node.args
    height, width = _sizes(value)
    rows, columns = (int(size) for size in requested)
    wide = _largest(captured, value, width, columns, dim=3)
    pooled = _largest(captured, wide, height, rows, dim=2)
    replace(captured, values, pooled)
    captured.graph.erase_node(node)
    return None


def _largest(captured: fx.GraphModule, value: fx.Node, size: int, outputs: int, *, dim: int) -> fx.Node:
    """Reduce one axis of `size` cells to `outputs`."""
    call = captured.graph.call_function

    def largest(part: fx.Node, cells: int) -> fx.Node:
        kernel = [1, cells] if dim == 3 else [cells, 1]
        return call(getitem, (call(aten.max_pool2d_with_indices.default, (part, kernel, kernel)), 0))

    if size % outputs == 0:
        return largest(value, size // outputs)
    parts = [
        largest(call(aten.slice.Tensor, (value, dim, start, end)), end - start) for start, end in windows(size, outputs)
    ]
    return call(aten.cat.default, (parts, dim))


def _average(captured: fx.GraphModule, node: Any) -> fx.Node | None:  # noqa: ANN401
    """Shrink a window that is larger than its map to the map, and multiply where a divisor is given.

    With `ceil_mode` a window counts no cell beyond the map and its padding, so the smaller one holds the same cells;
    EfficientNet of transformers averages so over all cells. ONNX has no divisor.
    """
    value, kernel, *others = node.args
    defaults: tuple[Any, ...] = (None, [0], False, True, None)
    stride, padding, ceil_mode, counts_padding, divisor = tuple(others) + defaults[len(others) :]
    kernel, padding = _pair(kernel), _pair(padding)
    windows = zip(kernel, _sizes(value), padding, strict=True)
    fitting = [edge if pad or edge < size else size for edge, size, pad in windows]
    divides = divisor is not None and not ceil_mode
    if fitting == kernel and not divides:
        return None
    counted = [True, None] if divides else [counts_padding, divisor]
    arguments = (value, fitting, _pair(stride or kernel), padding, ceil_mode, *counted)
    pooled = captured.graph.call_function(node.target, arguments)
    if not divides:
        return pooled
    return captured.graph.call_function(aten.mul.Tensor, (pooled, fitting[0] * fitting[1] / divisor))


def _sizes(value: fx.Node) -> tuple[int, int]:
    height, width = (int(size) for size in value.meta["val"].shape[-2:])
    return height, width


def _pair(numbers: Any) -> list[int]:  # noqa: ANN401
    return [int(numbers[0]), int(numbers[-1])]


_REWRITES: dict[Any, Callable[[fx.GraphModule, Any], fx.Node | None]] = {
    aten.adaptive_avg_pool2d.default: _adaptive_average,
    aten._adaptive_avg_pool2d.default: _adaptive_average,
    aten.adaptive_max_pool2d.default: _adaptive_maximum,
    aten.avg_pool2d.default: _average,
}

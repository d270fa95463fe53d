"""A captured graph rewritten where an operator would have no derivative to convert: graph -> the same function."""

import torch
from torch import fx

aten = torch.ops.aten


def simplify(captured: fx.GraphModule) -> None:
    """Write adaptive average pooling, in place, as a mean or as two matrix products.

    torch's own form of the mean changes strides in place where the input is laid out channels last (ConvNeXt), whose
    derivative is a scatter into strides; and the general form's derivative has no conversion at all (VGG).
    """
    for node in list(captured.graph.nodes):
        if node.target in (aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default):
            _pool(captured, node)
    captured.graph.eliminate_dead_code()
    captured.recompile()


def _pool(captured: fx.GraphModule, node: fx.Node) -> None:
    value, wanted = node.args
    assert isinstance(value, fx.Node)
    assert isinstance(wanted, list | tuple)
    sizes = tuple(int(size) for size in value.meta["val"].shape[-2:])
    outputs = tuple(int(size) for size in wanted)  # type: ignore[arg-type]  # integers, says the operator
    with captured.graph.inserting_before(node):
        if outputs == (1, 1):
            pooled = captured.graph.call_function(aten.mean.dim, (value, [-2, -1], True))
        elif outputs == sizes:
            pooled = captured.graph.call_function(aten.clone.default, (value,))
        else:
            rows, columns = (averages(*pair) for pair in zip(sizes, outputs, strict=True))
            left = _constant(captured, f"{node.name}_rows", rows)
            right = _constant(captured, f"{node.name}_columns", columns.T.contiguous())
            upright = captured.graph.call_function(aten.matmul.default, (left, value))
            pooled = captured.graph.call_function(aten.matmul.default, (upright, right))
    pooled.meta = dict(node.meta)
    node.replace_all_uses_with(pooled)
    captured.graph.erase_node(node)


def averages(size: int, wanted: int) -> torch.Tensor:
    """The matrix `[wanted,size]` of adaptive average pooling along one axis.

    Row i averages the cells from `floor(i * size / wanted)` up to `ceil((i + 1) * size / wanted)`.
    """
    matrix = torch.zeros(wanted, size)
    for row in range(wanted):
        start, end = row * size // wanted, -(-(row + 1) * size // wanted)
        matrix[row, start:end] = 1 / (end - start)
    return matrix


def _constant(captured: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    captured.register_buffer(name, value)
    return captured.graph.get_attr(name)

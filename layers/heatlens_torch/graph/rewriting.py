"""Put new operations in the place of a node of a captured graph."""

import torch
from torch import fx

_matmul = torch.ops.aten.matmul.default


def replace(captured: fx.GraphModule, node: fx.Node, result: fx.Node) -> None:
    """Let `result`, which has the node's value, stand in its place; what it says of itself already is kept."""
    result.meta = result.meta or dict(node.meta)
    node.replace_all_uses_with(result)
    captured.graph.erase_node(node)


def constant(captured: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    """Register a tensor and return the node that reads it."""
    captured.register_buffer(name, value)
    return captured.graph.get_attr(name)


def between(
    captured: fx.GraphModule, node: fx.Node, value: fx.Node, rows: torch.Tensor, columns: torch.Tensor
) -> fx.Node:
    """Return `rows @ value @ columns`: one matrix for each axis of a map.

    Args:
        captured: The graph, at the place where the operations are to stand.
        node: The node that they replace, which names the matrices.
        value: `[...,H,W]`.
        rows: `[H',H]`.
        columns: `[W,W']`.
    """
    call, device = captured.graph.call_function, value.meta["val"].device
    left = constant(captured, f"{node.name}_rows", rows.to(device))
    right = constant(captured, f"{node.name}_columns", columns.to(device))
    return call(_matmul, (call(_matmul, (left, value)), right))

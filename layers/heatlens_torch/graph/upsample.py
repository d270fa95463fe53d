"""Write the resizing of a map inside a network as a matrix for each axis.

The derivatives of torch's operators have no conversion to ONNX, and they fix the size of the batch.
"""

from typing import Any

import torch
from torch import fx

from heatlens_torch.graph.rewriting import between, replace

aten = torch.ops.aten
STILL = 2  # cells of the axis that is not resized: with one, torch's resizing with antialias gives other rows
OPERATORS = {
    aten.upsample_nearest2d.vec,
    aten._upsample_nearest_exact2d.vec,
    aten.upsample_bilinear2d.vec,
    aten._upsample_bilinear2d_aa.vec,
    aten.upsample_bicubic2d.vec,
    aten._upsample_bicubic2d_aa.vec,
    aten._upsample_lanczos2d_aa.vec,
}


def write_as_matrices(captured: fx.GraphModule) -> None:
    """Replace every operator that resizes a map; the graph is changed in place."""
    for node in [each for each in captured.graph.nodes if each.target in OPERATORS]:
        with captured.graph.inserting_before(node):
            result = between(captured, node, node.args[0], *_matrices(node))
        replace(captured, node, result)
    captured.recompile()


def _matrices(node: fx.Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrices `rows` `[H',H]` and `columns` `[W,W']` with `rows @ map @ columns` equal to the operator.

    The operator itself resizes the unit matrix along one axis, so that its settings mean what they mean to torch.
    """
    value: Any = node.args[0]
    height, width = (int(size) for size in value.meta["val"].shape[-2:])
    rows = _resized(node, torch.eye(height).reshape(1, height, height, 1).repeat(1, 1, 1, STILL), axis=0)[0, :, :, 0]
    columns = _resized(node, torch.eye(width).reshape(1, width, 1, width).repeat(1, 1, STILL, 1), axis=1)[0, :, 0]
    return rows.T.contiguous(), columns


def _resized(node: fx.Node, units: torch.Tensor, axis: int) -> torch.Tensor:
    _, size, *settings, factors = node.args
    operator: Any = node.target
    resized: torch.Tensor = operator(units, _along(size, axis, STILL), *settings, _along(factors, axis, 1.0))
    return resized


def _along(pair: Any, axis: int, still: float) -> list[float] | None:  # noqa: ANN401 - sizes, factors, or neither
    """Keep one axis of a pair; the other axis keeps its cells."""
    if pair is None:
        return None
    return [number if index == axis else still for index, number in enumerate(pair)]

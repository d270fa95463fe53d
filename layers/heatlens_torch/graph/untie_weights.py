"""Weights that a graph uses both ways round: ONNX model -> the same function, each way with a constant of its own.

A tail multiplies by a weight going forward and by its transpose going back. OpenVINO's CPU plugin keeps the packed form
of a constant under its address and shape, so where the two ways have one shape it hands the second the first one's
form: `x W W` comes out for `x W W^T`, without a word. Two nodes are enough to see it;
`tests/unit/heatlens_torch/graph/test_untie_weights.py` does. Two constants have two addresses. Where the shapes differ
nothing is mixed up, and the weight stays shared.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

MATRIX = 2  # dimensions
_TRANSPOSED = "transB"  # Gemm's own way to turn its second input


@dataclass(frozen=True, slots=True)
class _Use:
    """A node that multiplies by a weight as its second input, and whether by the weight as it is stored."""

    node: onnx.NodeProto
    turned: bool


def untie_transposed_weights(model: onnx.ModelProto) -> None:
    """Give every weight that is used straight and turned in one shape a second constant for what is turned.

    Args:
        model: Changed in place.
    """
    weights = {each.name: each for each in model.graph.initializer}
    for name, uses in _uses(model.graph, weights).items():
        turned = [use for use in uses if use.turned]
        if 0 < len(turned) < len(uses):
            own = _turned(weights[name])
            model.graph.initializer.append(own)
            for use in turned:
                _repoint(use.node, own.name)
    _drop_unread(model.graph)


def _uses(graph: onnx.GraphProto, weights: dict[str, onnx.TensorProto]) -> dict[str, list[_Use]]:
    """Of each weight whose two ways round have one shape."""
    transposed = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Transpose" and node.input[0] in weights and len(weights[node.input[0]].dims) == MATRIX
    }
    found: dict[str, list[_Use]] = defaultdict(list)
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            given = node.input[1]
            name = transposed.get(given, given)
            if name in weights and _is_square(weights[name], _attribute(node, "group", 1)):
                flips = (given in transposed, _attribute(node, _TRANSPOSED, 0) == 1, node.op_type == "ConvTranspose")
                found[name].append(_Use(node, turned=sum(flips) % 2 == 1))
    return found


def _is_square(weight: onnx.TensorProto, groups: int) -> bool:
    return len(weight.dims) >= MATRIX and weight.dims[0] == groups * weight.dims[1]


def _turned(weight: onnx.TensorProto) -> onnx.TensorProto:
    """The second constant: of a matrix its transpose; a transposed convolution turns its kernel itself."""
    values = numpy_helper.to_array(weight)
    own = np.ascontiguousarray(values.T) if values.ndim == MATRIX else values
    return numpy_helper.from_array(own, f"{weight.name}.turned")


def _repoint(node: onnx.NodeProto, name: str) -> None:
    node.input[1] = name
    for attribute in [each for each in node.attribute if each.name == _TRANSPOSED]:
        node.attribute.remove(attribute)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove the `Transpose` nodes that nothing reads any more."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [each for each in graph.node if each.op_type == "Transpose" and each.output[0] not in read]:
        graph.node.remove(node)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    for attribute in node.attribute:
        if attribute.name == name:
            return int(helper.get_attribute_value(attribute))
    return default

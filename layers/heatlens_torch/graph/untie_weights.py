"""Give a weight that a graph uses both as it is and transposed a second constant.

A tail multiplies by a weight in the forward pass and by its transpose in the backward pass. OpenVINO's CPU plugin
caches the packed form of a constant by its address and shape. Where both uses have the same shape, the second one gets
the packed form of the first, and OpenVINO silently computes `x W W` instead of `x W W^T`. Two nodes are enough to
reproduce it, see `tests/unit/heatlens_torch/graph/test_untie_weights.py`. Two constants have two addresses. Where the
shapes differ the cache is right, and the weight stays shared.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

MATRIX = 2  # dimensions
_TRANSPOSED = "transB"  # Gemm's attribute that transposes its second input


@dataclass(frozen=True, slots=True)
class _Use:
    """A node whose second input is a weight, and whether it uses the weight transposed."""

    node: onnx.NodeProto
    turned: bool


def untie_transposed_weights(model: onnx.ModelProto) -> None:
    """Give every square weight that is used both ways a second constant for the transposed uses.

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
    """List the uses of each weight that has the same shape transposed."""
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
    """Make the second constant: the transpose of a matrix; a transposed convolution transposes its kernel itself."""
    values = numpy_helper.to_array(weight)
    own = np.ascontiguousarray(values.T) if values.ndim == MATRIX else values
    return numpy_helper.from_array(own, f"{weight.name}.turned")


def _repoint(node: onnx.NodeProto, name: str) -> None:
    node.input[1] = name
    for attribute in [each for each in node.attribute if each.name == _TRANSPOSED]:
        node.attribute.remove(attribute)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove `Transpose` nodes whose output is not read any more."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [each for each in graph.node if each.op_type == "Transpose" and each.output[0] not in read]:
        graph.node.remove(node)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    for attribute in node.attribute:
        if attribute.name == name:
            return int(helper.get_attribute_value(attribute))
    return default

"""Reduce values of three dimensions as values of four, where arithmetic with constants follows.

OpenVINO's CPU plugin (2026.4.1, float32) merges a factor or summand of each channel into a reduction of `[B,C,N]` over
its last dimension, and then returns wrong numbers: relative errors of 0.3 to 1.5. Two nodes and a dynamic batch are
enough to reproduce it, see `tests/unit/heatlens_torch/graph/test_reduce_deeper.py`. Such a pattern is a mean of tokens
before a BatchNorm (LeViT). With a dimension more the numbers are right.
"""

from collections import defaultdict

import onnx
from onnx import helper, numpy_helper

_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "BatchNormalization", "PRelu")
_BETWEEN = ("Relu", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "Tanh", "Gelu", "Abs", "Neg", "Sqrt", "Exp", "Clip")
_DIMENSIONS = 3


def reduce_deeper(model: onnx.ModelProto) -> None:
    """Put `Unsqueeze` before and `Squeeze` behind every such reduction.

    Args:
        model: Changed in place. Its `value_info` has the number of dimensions of each value.
    """
    graph = model.graph
    known = {each.name: len(each.type.tensor_type.shape.dim) for each in (*graph.value_info, *graph.input)}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for node in [each for each in graph.node if each.op_type in _REDUCTIONS]:
        if known.get(node.input[0]) == _DIMENSIONS and _is_scaled(graph, readers, node.output[0]):
            _add_dimension(graph, node)


def _is_scaled(graph: onnx.GraphProto, readers: dict[str, list[onnx.NodeProto]], value: str) -> bool:
    """Tell whether arithmetic with a constant of several numbers follows, directly or after an activation."""
    constants = {each.name for each in graph.initializer if max(each.dims, default=1) > 1}
    return any(
        (node.op_type in _ARITHMETIC and any(name in constants for name in node.input))
        or (node.op_type in _BETWEEN and _is_scaled(graph, readers, node.output[0]))
        for node in readers[value]
    )


def _add_dimension(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Give the values a second dimension of one while they are reduced along one other than the batch."""
    axes = next((each for each in graph.initializer if len(node.input) > 1 and each.name == node.input[1]), None)
    if axes is None or list(axes.dims) != [1]:
        return
    axis = int(numpy_helper.to_array(axes)[0]) % _DIMENSIONS
    if axis == 0:
        return
    result = node.output[0]
    names = {key: f"{result}.{key}" for key in ("second", "moved", "deeper", "reduced")}
    for key, value in (("second", 1), ("moved", axis + 1)):
        graph.initializer.append(helper.make_tensor(names[key], onnx.TensorProto.INT64, [1], [value]))
    before = helper.make_node("Unsqueeze", [node.input[0], names["second"]], [names["deeper"]], f"{node.name}.deeper")
    behind = helper.make_node("Squeeze", [names["reduced"], names["second"]], [result], f"{node.name}.reduced")
    node.input[0], node.input[1], node.output[0] = names["deeper"], names["moved"], names["reduced"]
    place = list(graph.node).index(node)
    graph.node.insert(place, before)
    graph.node.insert(place + 2, behind)

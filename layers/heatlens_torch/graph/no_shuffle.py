"""Keep OpenVINO from taking a rearranged attention for a shuffle of channels.

OpenVINO (2026.4.1) looks for `Reshape` of four dimensions to five, `Transpose`, `Reshape`. Its ShuffleChannelsFusion
asks for the length of the first two dimensions. Where the batch is the second one, as in the gradient of queries, keys
and values that one layer made (`[3,B,heads,N,dim]`), it throws, and the graph is refused. A dimension more before the
first `Reshape` changes no value, and the pattern does not match. The three nodes are in
`tests/unit/heatlens_torch/graph/test_no_shuffle.py`.
"""

from collections import defaultdict

import onnx
from onnx import helper, numpy_helper

_SHUFFLED = 5  # dimensions


def unshuffle(model: onnx.ModelProto) -> None:
    """Give every such `Reshape` an input of one dimension more.

    Args:
        model: Changed in place.
    """
    graph = model.graph
    fixed_first = {each.name for each in graph.initializer if _puts_batch_later(each)}
    for first in [node for node in graph.node if node.op_type == "Reshape" and node.input[1] in fixed_first]:
        if _is_rearranged(graph, first):
            _add_dimension(graph, first)


def _puts_batch_later(shape: onnx.TensorProto) -> bool:
    if shape.data_type != onnx.TensorProto.INT64 or list(shape.dims) != [_SHUFFLED]:
        return False
    sizes = numpy_helper.to_array(shape)
    return bool(sizes[0] > 0 and (sizes < 0).any())


def _is_rearranged(graph: onnx.GraphProto, first: onnx.NodeProto) -> bool:
    """Tell whether the node is read by one `Transpose` alone, and that by one `Reshape` alone."""
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    following = readers[first.output[0]]
    if [node.op_type for node in following] != ["Transpose"]:
        return False
    return "Reshape" in {node.op_type for node in readers[following[0].output[0]]}


def _add_dimension(graph: onnx.GraphProto, first: onnx.NodeProto) -> None:
    axis, deeper = f"{first.output[0]}.axis", f"{first.output[0]}.deeper"
    graph.initializer.append(helper.make_tensor(axis, onnx.TensorProto.INT64, [1], [0]))
    unsqueeze = helper.make_node("Unsqueeze", [first.input[0], axis], [deeper], name=f"{first.name}.deeper")
    graph.node.insert(list(graph.node).index(first), unsqueeze)
    first.input[0] = deeper

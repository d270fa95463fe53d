"""Apply constants to a value before it is expanded, and not afterwards.

OpenVINO's CPU plugin (2026.4.1, float32) merges arithmetic with a constant into a transposed convolution across an
`Expand` of its 1x1 map, and then returns wrong numbers: relative errors of 1.2 to 2. Three nodes are enough to
reproduce it, see `tests/unit/heatlens_torch/graph/test_expand_late.py`. Such a pattern is the gradient of an average
pooling before a 1x1 convolution (MobileNetV3 and V4, LCNet, GhostNet in timm): `ConvTranspose`, `Expand`, `Div`.
"""

from collections.abc import Iterator

import onnx

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def expand_late(model: onnx.ModelProto) -> None:
    """Replace `op(Expand(x), constant)` by `Expand(op(x, constant))` wherever the operator is arithmetic.

    Broadcasting makes both the same, and the second one computes less.

    Args:
        model: Changed in place.
    """
    while pair := next(_pairs(model.graph), None):  # which a swap may change
        _swap(model.graph, *pair)


def _pairs(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Yield each `Expand` of a value with each node that combines its result with a constant."""
    constants = _constants(graph)
    expands = {
        node.output[0]: node for node in graph.node if node.op_type == "Expand" and node.input[0] not in constants
    }
    for use in graph.node:
        if use.op_type in ARITHMETIC:
            for given, other in (use.input, reversed(use.input)):
                if given in expands and other in constants:
                    yield expands[given], use


def _swap(graph: onnx.GraphProto, expand: onnx.NodeProto, use: onnx.NodeProto) -> None:
    """Let `use` work on what `expand` expands; other uses keep the expanded value."""
    result, early = use.output[0], f"{use.output[0]}.early"
    for index, given in enumerate(use.input):
        if given == expand.output[0]:
            use.input[index] = expand.input[0]
    use.output[0] = early
    late = onnx.helper.make_node("Expand", [early, expand.input[1]], [result], name=f"{expand.name}.late")
    graph.node.insert(list(graph.node).index(use) + 1, late)
    if not any(expand.output[0] in node.input for node in graph.node):
        graph.node.remove(expand)


def _constants(graph: onnx.GraphProto) -> set[str]:
    """Name the values that depend on weights alone."""
    names = {weight.name for weight in graph.initializer}
    for node in graph.node:
        if all(name in names for name in node.input if name):
            names.update(node.output)
    return names

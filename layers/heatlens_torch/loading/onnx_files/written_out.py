"""Find a softmax or sigmoid that an ONNX graph has written out as arithmetic, and make it one node again."""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, helper

from heatlens_torch.loading.onnx_files.signature import Wires

LAST = -1
ANY_AXIS = 13  # the operator set from which a Softmax runs along one axis alone


def with_activations(model: ModelProto) -> ModelProto:
    """Return the graph with one Softmax or Sigmoid in place of exponentials divided by their sum; else the same."""
    found = list(_found(model))
    if not found:
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    for index, node in found:
        copy.graph.node[index].CopyFrom(node)
    return copy


def _found(model: ModelProto) -> Iterator[tuple[int, NodeProto]]:
    wires = Wires(model.graph)
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.output}
    for index, node in enumerate(model.graph.node):
        softmax = _softmax(node, wires)
        if softmax is not None:
            values, axis = softmax
            if opset >= ANY_AXIS or axis in (LAST, ranks.get(node.output[0], 0) - 1):
                yield index, helper.make_node("Softmax", [values], node.output, node.name, axis=axis)
        elif (inside := _sigmoid(node, wires)) is not None:
            yield index, helper.make_node("Sigmoid", [inside], node.output, node.name)


def _softmax(node: NodeProto, wires: Wires) -> tuple[str, int] | None:
    """Match `exp(x) / sum(exp(x))`, also with the largest value subtracted first: what goes in, and the axis."""
    if node.op_type != "Div":
        return None
    powers, total = (wires.makers.get(name) for name in node.input)
    if powers is None or total is None or (powers.op_type, total.op_type) != ("Exp", "ReduceSum"):
        return None
    axis = _axis(total, wires)
    if total.input[0] != node.input[0] or axis is None:
        return None
    values = powers.input[0]
    shifted = wires.makers.get(values)
    largest = wires.makers.get(shifted.input[1]) if shifted is not None and shifted.op_type == "Sub" else None
    if shifted is not None and largest is not None and largest.op_type == "ReduceMax":
        same = largest.input[0] == shifted.input[0] and _axis(largest, wires) == axis
        return (shifted.input[0], axis) if same else None
    return values, axis


def _axis(node: NodeProto, wires: Wires) -> int | None:
    """Return the one axis that a reduction keeps as 1, `None` if it is another reduction."""
    given = {attribute.name: attribute for attribute in node.attribute}
    if "keepdims" in given and not given["keepdims"].i:
        return None
    axes = list(given["axes"].ints) if "axes" in given else None
    if axes is None and len(node.input) > 1:
        constant = wires.constant(node.input[1])
        axes = None if constant is None else [int(each) for each in np.ravel(constant)]
    return axes[0] if axes and len(axes) == 1 else None


def _sigmoid(node: NodeProto, wires: Wires) -> str | None:
    """Match `1 / (1 + exp(-x))`, also as a Reciprocal: what goes in."""
    if node.op_type == "Div" and _is_one(node.input[0], wires):
        below = wires.makers.get(node.input[1])
    else:
        below = wires.makers.get(node.input[0]) if node.op_type == "Reciprocal" else None
    if below is None or below.op_type != "Add" or not any(_is_one(name, wires) for name in below.input):
        return None
    for name in below.input:
        power = wires.makers.get(name)
        minus = wires.makers.get(power.input[0]) if power is not None and power.op_type == "Exp" else None
        if minus is not None and minus.op_type == "Neg":
            return str(minus.input[0])
    return None


def _is_one(name: str, wires: Wires) -> bool:
    constant = wires.constant(name)
    return constant is not None and constant.size == 1 and bool(np.all(constant == 1))

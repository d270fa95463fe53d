"""See what an ONNX graph takes and answers: which input is the image, how it is laid out, and how the graph ends."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from heatlens.errors import ModelFileError
from heatlens_torch.loading.onnx_files.read import ML_DOMAIN, describe_node

Values = npt.NDArray[np.float64]

IMAGE_DIMS = 4
CHANNELS = (1, 3)
TO_CHANNELS_FIRST = [0, 3, 1, 2]
UNCHANGED = ("Identity", "Cast", "Dropout")
SHAPED = (*UNCHANGED, "Reshape", "Flatten", "Squeeze", "Unsqueeze")
ENDS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
ARITHMETIC = ("Sub", "Add", "Mul", "Div")
LEVELS = 255
LARGEST_GAIN = 0.1  # of values in 0..255: a gain over it belongs to values in 0..1


@dataclass(frozen=True, slots=True)
class Affine:
    """What the graph does with its input first: `value * gain + shift`, one for all channels or for each.

    `learned` is a BatchNormalization, which may follow a normalization outside the graph.
    """

    gain: Values
    shift: Values
    nodes: tuple[str, ...]
    learned: bool = False

    @property
    def mean(self) -> Values:
        """The value that becomes 0."""
        return -self.shift / self.gain

    @property
    def takes_levels(self) -> bool:
        """Whether gray levels of 0 to 255 go in, to judge by the numbers; else values of 0 to 1."""
        return bool(np.abs(self.mean).max() > 1.5 or np.abs(self.gain).max() < LARGEST_GAIN)


@dataclass(frozen=True, slots=True)
class Signature:
    """`size` is height and width where they are fixed, `batch` the number of images where it is."""

    image: str
    channels_last: bool
    channels: int | None
    size: tuple[int, int] | None
    batch: int | None
    levels: bool  # whole numbers of 8 bits go in
    outputs: tuple[str, ...]
    ends: Mapping[str, str] = field(default_factory=dict)  # output: `softmax` or `sigmoid`
    counts: Mapping[str, int] = field(default_factory=dict)  # output: its last dimension
    labels: tuple[str, ...] = ()  # of a ZipMap
    affine: Affine | None = None


def read_signature(model: ModelProto, name: str) -> Signature:
    """Find the image among the inputs, and the scores among the outputs.

    Raises:
        ModelFileError: The graph takes something else than one image, or answers no tensor of numbers.
    """
    graph = Wires(model.graph)
    value = _image(model.graph, graph, name)
    outputs, labels = _outputs(model.graph, graph, name)
    dims = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
    first = list(graph.first_nodes(value.name))
    last = _is_channels_last(dims, first)
    channels = dims[3] if last else dims[1]
    height, width = dims[1:3] if last else dims[2:4]
    return Signature(
        image=value.name,
        channels_last=last,
        channels=channels or _channels_of_weights(first, graph),
        size=(height, width) if height and width else None,
        batch=dims[0],
        levels=value.type.tensor_type.elem_type == TensorProto.UINT8,
        outputs=outputs,
        ends={output: end for output in outputs if (end := graph.end_of(output))},
        counts=_counts(model.graph, outputs, graph),
        labels=labels,
        affine=_affine(value.name, graph),
    )


class Wires:
    """Who makes and who takes each tensor of a graph, and which are constant."""

    def __init__(self, graph: GraphProto) -> None:
        self.makers = {output: node for node in graph.node for output in node.output}
        self.takers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}

    def constant(self, name: str) -> Values | None:
        """Return the value of an initializer or of a Constant node."""
        if name in self.initializers:
            return np.asarray(numpy_helper.to_array(self.initializers[name]))
        node = self.makers.get(name)
        if node is None or node.op_type != "Constant":
            return self.constant(node.input[0]) if node is not None and node.op_type == "Identity" else None
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        return np.asarray(numpy_helper.to_array(values[0])) if values else None

    def end_of(self, output: str) -> str | None:
        """Tell in which activation an output ends, looking through what does not change its values."""
        node = self.makers.get(output)
        while node is not None and node.op_type in SHAPED:
            node = self.makers.get(node.input[0])
        return ENDS.get(node.op_type) if node is not None else None

    def first_nodes(self, name: str) -> Iterator[NodeProto]:
        """Yield the nodes that take the image, also through arithmetic with constants."""
        pending, seen = [name], set[str]()
        while pending:
            for node in self.takers.get(pending.pop(), []):
                yield node
                passes = node.op_type in (*UNCHANGED, "BatchNormalization") or self.other_of(node) is not None
                if passes and node.output[0] not in seen:
                    seen.add(node.output[0])
                    pending.append(node.output[0])

    def other_of(self, node: NodeProto) -> Values | None:
        """Return the constant of an arithmetic node with one."""
        if node.op_type not in ARITHMETIC:
            return None
        found = [value for name in node.input if (value := self.constant(name)) is not None]
        return found[0].astype(np.float64) if len(found) == 1 else None


def _image(graph: GraphProto, wires: Wires, name: str) -> ValueInfoProto:
    inputs = [value for value in graph.input if value.name not in wires.initializers]
    images = [value for value in inputs if len(value.type.tensor_type.shape.dim) == IMAGE_DIMS]
    if len(inputs) != 1 or len(images) != 1:
        listed = ", ".join(f"{value.name!r} {_shape(value)}" for value in inputs) or "none"
        raise ModelFileError(
            f"architecture: {name} takes the inputs {listed}, and only a network of one image batch [B,C,H,W] or "
            "[B,H,W,C] can be compiled: name the image (--input-entry), and give the other inputs constants "
            "(--set 'constants={NAME=0.0}')"
        )
    kind = images[0].type.tensor_type.elem_type
    if kind not in (TensorProto.FLOAT, TensorProto.UINT8):
        raise ModelFileError(
            f"architecture: {name} takes {TensorProto.DataType.Name(kind).lower()} as {images[0].name!r}, and images "
            "are float or uint8"
        )
    image: ValueInfoProto = images[0]
    return image


def _outputs(graph: GraphProto, wires: Wires, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the outputs of numbers, and the labels of a ZipMap, in place of which its scores are taken."""
    found, labels = [], ()
    for value in graph.output:
        node = wires.makers.get(value.name)
        if node is not None and node.op_type == "ZipMap":
            found.append(node.input[0])
            labels = tuple(
                text.decode("utf-8", "replace")
                for attribute in node.attribute
                if attribute.name == "classlabels_strings"
                for text in attribute.strings
            )
        elif value.type.tensor_type.elem_type == TensorProto.FLOAT:
            found.append(value.name)
    if not found:
        listed = ", ".join(repr(value.name) for value in graph.output)
        raise ModelFileError(f"architecture: {name} answers {listed}, none of which is a float tensor of scores")
    needed = _needed(found, wires)
    foreign = next((node for node in graph.node if node.domain == ML_DOMAIN and node.output[0] in needed), None)
    if foreign is not None:
        raise ModelFileError(f"architecture: {name}: {describe_node(foreign)} of {ML_DOMAIN} cannot be differentiated")
    return tuple(dict.fromkeys(found)), labels


def _needed(outputs: list[str], wires: Wires) -> set[str]:
    needed, pending = set[str](), list(outputs)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += wires.makers[name].input if name in wires.makers else []
    return needed


def _counts(graph: GraphProto, outputs: tuple[str, ...], wires: Wires) -> dict[str, int]:
    """Return the number of scores of each output, where the file says it."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.output, *graph.value_info)}
    found = {}
    for output in outputs:
        dims = list(shapes.get(output, ()))
        sizes = [dim.dim_value for dim in dims[1:] if dim.dim_value != 1]
        if dims and all(dim.dim_value for dim in dims[1:]) and len(sizes) <= 1:
            found[output] = sizes[0] if sizes else 1
    return found


def _shape(value: ValueInfoProto) -> str:
    return f"[{','.join(str(dim.dim_value or dim.dim_param or '?') for dim in value.type.tensor_type.shape.dim)}]"


def _is_channels_last(dims: list[int | None], first: list[NodeProto]) -> bool:
    """Tell the layout by the number of channels, else by what the graph does first."""
    if dims[1] in CHANNELS and dims[3] not in CHANNELS:
        return False
    if dims[3] in CHANNELS and dims[1] not in CHANNELS:
        return True
    perms = [list(attribute.ints) for node in first if node.op_type == "Transpose" for attribute in node.attribute]
    return TO_CHANNELS_FIRST in perms


def _channels_of_weights(first: list[NodeProto], wires: Wires) -> int | None:
    for node in first:
        weights = wires.constant(node.input[1]) if node.op_type == "Conv" else None
        if weights is not None:
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            return int(weights.shape[1] * groups)
    return None


def _affine(image: str, wires: Wires) -> Affine | None:
    """Compose what the graph computes on its input before anything else."""
    gain, shift, nodes, learned = np.ones(1), np.zeros(1), list[str](), False
    while len(takers := wires.takers.get(image, [])) == 1:
        node = takers[0]
        step = _step(node, image, wires)
        if step is not None:
            gain, shift = gain * step[0], shift * step[0] + step[1]
            nodes.append(node.op_type)
            learned = learned or node.op_type == "BatchNormalization"
        elif node.op_type not in (*UNCHANGED, "Transpose"):
            break
        image = node.output[0]
    if not nodes or not gain.all():
        return None
    return Affine(gain, shift, tuple(nodes), learned)


def _step(node: NodeProto, image: str, wires: Wires) -> tuple[Values, Values] | None:
    """Return gain and shift of one node, `None` if it is no such arithmetic."""
    if node.op_type == "BatchNormalization":
        values = [wires.constant(name) for name in node.input[1:5]]
        if any(value is None for value in values):
            return None
        scale, bias, mean, variance = (np.asarray(value, np.float64) for value in values)
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        gain = scale / np.sqrt(variance + epsilon)
        return gain, bias - mean * gain
    other = wires.other_of(node)
    if other is None or other.size not in (1, *CHANNELS) or (node.op_type == "Div" and not other.all()):
        return None
    other = other.ravel()
    is_first = node.input[0] == image
    one, zero = np.ones_like(other), np.zeros_like(other)
    if node.op_type == "Add":
        return one, other
    if node.op_type == "Mul":
        return other, zero
    if node.op_type == "Sub":
        return (one, -other) if is_first else (-one, other)
    return (1 / other, zero) if is_first else None

"""An ONNX graph as a network of torch: one module for each node, under the node's name.

The modules run in the graph's order. Sizes are computed in NumPy while torch traces, so that Reshape and Slice depend
on no tensor's values. A file for one batch size becomes one for any: see `batch.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from onnx.inliner import inline_local_functions
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.errors import sentence
from heatlens_torch.loading.onnx_files.attention import attentions
from heatlens_torch.loading.onnx_files.operators import OPERATORS, UnsupportedNode, Value
from heatlens_torch.loading.onnx_files.read import describe_node
from heatlens_torch.loading.onnx_files.signature import Signature
from heatlens_torch.loading.onnx_files.sizes import SIZES, Array

PLAIN = ("", "ai.onnx")
# Their constants are weights, which the check with random weights replaces.
WEIGHTED = (
    *("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", "PRelu"),
    *("GroupNormalization", "InstanceNormalization", "LayerNormalization"),
)
SIZED = ("Clip", "Pad", "Resize", "Tile", "Upsample")  # their constants are sizes, scales and limits
MOST_FOLDED = 1 << 26  # values of a constant that is computed once


class OnnxNode(nn.Module):
    """One node. Its float constants are parameters or buffers, the other ones NumPy arrays."""

    def __init__(self, node: NodeProto, given: dict[str, Any], constants: Mapping[int, Array]) -> None:
        super().__init__()
        self.described = describe_node(node)
        self.operator: Callable[..., Any] = OPERATORS.get(node.op_type, _on_sizes_only)
        self.given = given
        self.count = len(node.input)
        self.fixed: dict[int, Array] = {}
        self.tensors: dict[int, str] = {}
        for index, value in constants.items():
            is_tensor = issubclass(value.dtype.type, np.floating) and value.size > 1
            if is_tensor and node.op_type not in SIZED:
                self.tensors[index] = name = f"input_{index}"
                tensor = torch.from_numpy(value.astype(np.float32))
                if node.op_type in WEIGHTED:
                    self.register_parameter(name, nn.Parameter(tensor))
                else:
                    self.register_buffer(name, tensor)
            else:
                self.fixed[index] = value

    def forward(self, *values: Value | None) -> Any:  # noqa: ANN401 - a tensor, an array or several
        """Compute the node from those inputs that are no constants, in their order."""
        try:
            return self.operator(self.given, *self.arguments(values))
        except UnsupportedNode as error:
            raise ModelFileError(f"architecture: {self.described} is not supported: {error}") from error

    def arguments(self, values: Sequence[Value | None]) -> list[Value | None]:
        """Return all inputs, constants among them."""
        varying = iter(values)
        return [self._argument(index, varying) for index in range(self.count)]

    def _argument(self, index: int, varying: Iterator[Value | None]) -> Value | None:
        if index in self.tensors:
            tensor: torch.Tensor = getattr(self, self.tensors[index])
            return tensor
        return self.fixed[index] if index in self.fixed else next(varying)


class BatchNormalization(nn.modules.batchnorm._BatchNorm):
    """A BatchNormalization of any number of dimensions, with the file's statistics."""

    def __init__(self, given: Mapping[str, Any], scale: Array, bias: Array, mean: Array, variance: Array) -> None:
        super().__init__(len(scale), eps=given.get("epsilon", 1e-5))
        self.load_state_dict(
            {
                "weight": torch.from_numpy(scale),
                "bias": torch.from_numpy(bias),
                "running_mean": torch.from_numpy(mean),
                "running_var": torch.from_numpy(variance),
            },
            strict=False,
        )

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002 - torch's name
        return None


class Attention(nn.Module):
    """The nodes of one attention, so that what is inside is known to be no map."""

    def __init__(self, steps: "Sequence[Step]", modules: Mapping[str, nn.Module], taken: Sequence[str]) -> None:
        super().__init__()
        self.steps, self.taken = steps, taken
        for step in steps:
            self.add_module(step.name, modules[step.name])

    def forward(self, *values: Value) -> Any:  # noqa: ANN401 - a tensor, an array or several
        """Run the nodes in order, and return the last one's output."""
        known: dict[str, Any] = dict(zip(self.taken, values, strict=True))
        for step in self.steps:
            step.run(self.get_submodule(step.name), known)
        return known[self.steps[-1].makes[0]]


@dataclass(frozen=True, slots=True)
class Step:
    """A module by its name, with the tensors that it takes and makes; on sizes alone NumPy computes it."""

    name: str
    takes: tuple[str, ...]
    makes: tuple[str, ...]
    op_type: str = ""
    drops: tuple[str, ...] = ()

    def run(self, module: nn.Module, known: dict[str, Any]) -> None:
        """Compute the step, on sizes by NumPy and on tensors by its module."""
        values = [known[name] if name else None for name in self.takes]
        on_sizes = self.op_type in SIZES and isinstance(module, OnnxNode) and not module.tensors
        if on_sizes and values and not any(isinstance(value, torch.Tensor) for value in values):
            assert isinstance(module, OnnxNode)
            found = SIZES[self.op_type](module.given, *module.arguments(values))
        else:
            found = module(*values)
        several = found if isinstance(found, tuple) else (found,)
        known.update(zip(self.makes, several, strict=False))


class OnnxNetwork(nn.Module):
    """The graph, called with an image batch `[B,C,H,W]`; of several outputs it answers a dict by their names."""

    steps: list[Step]

    def __init__(self, model: ModelProto, signature: Signature, name: str) -> None:
        super().__init__()
        self.signature = signature
        graph = inline_local_functions(model).graph if model.functions else model.graph
        opset = max((each.version for each in model.opset_import if each.domain in PLAIN), default=1)
        nodes = _needed(graph, signature.outputs)
        _check_operators(nodes, name)
        constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
        varying = _unstride(_fold(nodes, constants, opset), constants)
        steps, modules = [], {}
        for node, path in zip(varying, _names(varying), strict=True):
            given = _given(node, opset)
            bound = {i: constants[each] for i, each in enumerate(node.input) if each in constants}
            modules[path] = _module(node, given, bound)
            takes = tuple(each for i, each in enumerate(node.input) if i not in bound)
            if isinstance(modules[path], BatchNormalization):
                takes = takes[:1]
            steps.append(Step(path, takes, tuple(node.output), node.op_type))
        self.steps = _dropping(self._grouped(steps, modules), signature.outputs)

    def forward(self, image: torch.Tensor) -> Any:  # noqa: ANN401 - a tensor, or several by name
        """Run the graph."""
        known: dict[str, Any] = {
            self.signature.image: image.permute(0, 2, 3, 1) if self.signature.channels_last else image
        }
        for step in self.steps:
            step.run(self.get_submodule(step.name), known)
            for name in step.drops:
                del known[name]
        answers = {name: known[name] for name in self.signature.outputs}
        return answers if len(answers) > 1 else next(iter(answers.values()))

    def _grouped(self, steps: list[Step], modules: Mapping[str, nn.Module]) -> list[Step]:
        """Register the modules, those of an attention inside one module, and return the steps."""
        groups = attentions(steps)
        inside = {step.name for group in groups for step in group}
        ends = {group[-1].name: (index, group) for index, group in enumerate(groups)}
        found: list[Step] = []
        for step in steps:
            if step.name in ends:
                index, group = ends[step.name]
                made = {name for each in group for name in each.makes}
                taken = tuple(dict.fromkeys(n for each in group for n in each.takes if n and n not in made))
                self.add_module(f"attention_{index}", Attention(group, modules, taken))
                found.append(Step(f"attention_{index}", taken, step.makes[:1]))
            elif step.name not in inside:
                self.add_module(step.name, modules[step.name])
                found.append(step)
        return found


def _on_sizes_only(_given: Mapping[str, Any], *_values: object) -> Any:  # noqa: ANN401 - never
    raise UnsupportedNode("it computes with values of the image, and is known for sizes alone")


def _module(node: NodeProto, given: dict[str, Any], bound: Mapping[int, Array]) -> nn.Module:
    if node.op_type == "BatchNormalization" and all(i in bound for i in range(1, 5)):
        if given.get("training_mode", 0):
            raise ModelFileError(
                f"architecture: {describe_node(node)} is in training mode: export the network in eval()"
            )
        return BatchNormalization(given, *(bound[i].astype(np.float32) for i in range(1, 5)))
    kind: type[OnnxNode] = type(node.op_type, (OnnxNode,), {})
    return kind(node, given, bound)


def _needed(graph: GraphProto, outputs: Sequence[str]) -> list[NodeProto]:
    """Return the nodes that the outputs depend on, in order."""
    needed, found = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


def _check_operators(nodes: Sequence[NodeProto], name: str) -> None:
    for node in nodes:
        if node.domain not in PLAIN or (node.op_type not in OPERATORS and node.op_type not in SIZES):
            raise ModelFileError(
                f"architecture: {name}: the operator {f'{node.domain}.' if node.domain not in PLAIN else ''}"
                f"{describe_node(node)} has no conversion to torch here: export the network without it"
            )


def _fold(nodes: Sequence[NodeProto], constants: dict[str, Array], opset: int) -> list[NodeProto]:
    """Compute what depends on constants alone, add it to `constants`, and return the other nodes."""
    varying = []
    for node in nodes:
        fixed = all(name in constants for name in node.input if name) and node.op_type in SIZES
        if not fixed or sum(constants[name].size for name in node.input if name) > MOST_FOLDED:
            varying.append(node)
            continue
        try:
            found = SIZES[node.op_type](
                _given(node, opset), *(constants[name] if name else None for name in node.input)
            )
        except (ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
            raise ModelFileError(
                f"architecture: {describe_node(node)} cannot be computed: {sentence(error)}"
            ) from error
        constants.update(zip(node.output, found if isinstance(found, tuple) else (found,), strict=False))
    return varying


def _unstride(nodes: Sequence[NodeProto], constants: dict[str, Array]) -> list[NodeProto]:
    """Read a flattened tensor that is gathered in its own order as a Reshape: torch's exporter writes strides so.

    The places are those of one batch, and a Gather by them would leave out the images of a larger one.
    """
    makers = {node.output[0]: node for node in nodes}
    found = []
    for node in nodes:
        flat = makers.get(node.input[0]) if node.op_type == "Gather" else None
        places = constants.get(node.input[1]) if flat is not None and flat.op_type == "Reshape" else None
        if flat is None or places is None or constants.get(flat.input[1], np.zeros(2)).tolist() != [-1]:
            found.append(node)
        elif np.array_equal(places.ravel(), np.arange(places.size)):
            constants[f"{node.name}/shape"] = np.array(places.shape, np.int64)
            inputs = [flat.input[0], f"{node.name}/shape"]
            found.append(helper.make_node("Reshape", inputs, list(node.output), node.name))
        else:
            found.append(node)
    return found


def _given(node: NodeProto, opset: int) -> dict[str, Any]:
    """Return the attributes of a node, tensors as arrays, with the opset and the number of outputs."""
    found: dict[str, Any] = {"opset": opset, "outputs": len([name for name in node.output if name])}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        found[attribute.name] = _array(value) if attribute.HasField("t") else value
    return found


def _array(tensor: Any) -> Array:  # noqa: ANN401 - a TensorProto
    return np.array(numpy_helper.to_array(tensor))


def _names(nodes: Sequence[NodeProto]) -> list[str]:
    """Name each node's module: the node's name, or its operator and number; no dots, which part module paths."""
    found: list[str] = []
    taken = set[str]()
    for index, node in enumerate(nodes):
        name = node.name.strip("/").replace(".", "_") or f"{node.op_type}_{index}"
        name = name if name not in taken and not hasattr(nn.Module, name) else f"{name}_{index}"
        taken.add(name)
        found.append(name)
    return found


def _dropping(steps: Sequence[Step], outputs: Sequence[str]) -> list[Step]:
    """Note after which step each tensor is not needed any more."""
    needed, found = set(outputs), []
    for step in reversed(steps):
        names = {name for name in (*step.takes, *step.makes) if name}
        found.append(Step(step.name, step.takes, step.makes, step.op_type, tuple(sorted(names - needed))))
        needed |= names
    return found[::-1]

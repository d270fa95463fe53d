"""Capture a network as a graph and cut it after the target layer into a trunk and a tail."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.export import Dim

from heatlens.errors import CompileError
from heatlens_torch.errors import reason
from heatlens_torch.graph.any_batch import free_batch, has_fixed_batch
from heatlens_torch.graph.marks import marked, take_mark
from heatlens_torch.graph.single_precision import make_single
from heatlens_torch.graph.upsample import write_as_matrices

_MORE_IMAGES = 2


@dataclass(frozen=True, slots=True)
class Cut:
    """`trunk` maps an image batch to `(activation, *crossing)`, `tail` maps those to logits; both take any batch."""

    trunk: fx.GraphModule
    tail: fx.GraphModule


def capture(network: nn.Module, image: torch.Tensor, layers: Iterable[str] = ()) -> fx.GraphModule:
    """Capture the network as one functional graph with a dynamic batch.

    Args:
        network: In evaluation mode.
        image: `[B,3,H,W]`; its height and width become part of the graph.
        layers: Module paths whose outputs are marked in the graph.

    Raises:
        CompileError: torch.export cannot capture it, for example because its Python code depends on the data, or it
            cannot be captured for a batch of any size.
    """
    layers = tuple(layers)
    captured = _capture(network, image, layers)
    if has_fixed_batch(captured):
        larger = image.new_zeros(len(image) + _MORE_IMAGES, *image.shape[1:])
        free_batch(captured, _capture(network, larger, layers), network)
    make_single(captured)
    return captured


def _capture(network: nn.Module, image: torch.Tensor, layers: Iterable[str]) -> fx.GraphModule:
    try:
        # AUTO: a bounded dimension is refused where an operator specializes on it while tracing.
        with _plain_attention(), marked(network, layers):
            program = torch.export.export(network, (image,), dynamic_shapes=({0: Dim.AUTO},))
        module = program.run_decompositions({}).module(check_guards=False)
    except Exception as error:  # torch.export raises many unrelated kinds
        raise CompileError(f"torch.export cannot capture the network: {reason(error)}") from error
    assert isinstance(module, fx.GraphModule)
    write_as_matrices(module)
    return module


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Switch off the fused inference path of transformers, a single operator that cannot be cut or differentiated."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def find_cut(graph: fx.Graph, layer: str) -> fx.Node:
    """Find the operation that makes the layer's output: at its mark, else the last one inside it; all marks go.

    Raises:
        CompileError: No operation belongs to the layer.
    """
    activation = take_mark(graph, layer)
    if activation is not None:
        return activation
    inside = [node for node in graph.nodes if node.op == "call_function" and layer in _layers(node)]
    if not inside:
        raise CompileError(f"layer {layer!r} has no operation of its own in the exported graph")
    last: fx.Node = inside[-1]
    return last


def split(captured: fx.GraphModule, activation: fx.Node) -> Cut:
    """Cut the graph after `activation`.

    The tail is everything between the activation and the logits. Other values that it needs cross the cut too if they
    depend on the image; constants are copied, and the size of the batch is read from the activation.

    Raises:
        CompileError: The logits do not depend on the activation.
    """
    output = next(node for node in captured.graph.nodes if node.op == "output")
    logits = _logits(output)
    after = _dependents(captured.graph, activation) & _ancestors([logits])
    if logits not in after:
        raise CompileError("the logits do not depend on the target layer")
    image = next(node for node in captured.graph.nodes if node.op == "placeholder")
    varying = _dependents(captured.graph, image) | {image}
    outside = _in_order(captured.graph, {source for node in after for source in node.all_input_nodes} - after)
    crossing = [node for node in outside if node in varying and node is not activation and not _is_size(node)]
    inputs = [activation, *crossing]
    trunk = _subgraph(captured, inputs=[image], outputs=inputs)
    return Cut(trunk, _subgraph(captured, inputs=inputs, outputs=[logits]))


def crossing_names(count: int) -> list[str]:
    """Name the tensors that cross the cut: `activation`, then `crossing.0`, `crossing.1`, …"""
    return ["activation", *(f"crossing.{index}" for index in range(count - 1))]


def _layers(node: fx.Node) -> set[str]:
    return {path for path, _ in (node.meta.get("nn_module_stack") or {}).values()}


def _logits(output: fx.Node) -> fx.Node:
    (values,) = output.args
    if isinstance(values, tuple | list) and len(values) == 1 and isinstance(values[0], fx.Node):
        return values[0]
    raise CompileError("the network's output is not one tensor of logits [B,K]")


def _dependents(graph: fx.Graph, source: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "output" and any(before is source or before in found for before in node.all_input_nodes):
            found.add(node)
    return found


def _ancestors(nodes: Sequence[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending.extend(node.all_input_nodes)
    return found


def _in_order(graph: fx.Graph, nodes: set[fx.Node]) -> list[fx.Node]:
    return [node for node in graph.nodes if node in nodes]


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)


def _is_batch(node: fx.Node, batched: fx.Node) -> bool:
    """Tell whether a node is the size of the batch, dimension 0 of `batched`."""
    return _is_size(node) and str(node.meta["val"]) == str(batched.meta["val"].shape[0])


def _subgraph(captured: fx.GraphModule, *, inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]) -> fx.GraphModule:
    """Copy what lies between `inputs` and `outputs`, with the parameters and constants it needs."""
    graph = fx.Graph()
    copies = {node: graph.placeholder(f"input_{index}") for index, node in enumerate(inputs)}
    for node in _in_order(captured.graph, _between(inputs, outputs)):
        if _is_batch(node, inputs[0]):
            copies[node] = graph.call_function(torch.ops.aten.sym_size.int, (copies[inputs[0]], 0))
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs) if len(outputs) > 1 else copies[outputs[0]])
    return fx.GraphModule(captured, graph)


def _between(inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    pending = [node for node in outputs if node not in inputs]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            # The size of the batch is read from the first input, whatever it was computed from.
            sources = [] if _is_batch(node, inputs[0]) else node.all_input_nodes
            pending.extend(source for source in sources if source not in inputs)
    return found

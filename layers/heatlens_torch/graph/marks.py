"""Mark the outputs of modules in a captured graph.

A module that returns its input, or a view of it, has no operation of its own in the graph. A mark is an operation that
returns its input, put there by a hook on the module, and so its input is the module's output, whatever made it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import fx, nn


@torch.library.custom_op("heatlens::layer", mutates_args=())
def _mark(value: torch.Tensor, name: str) -> torch.Tensor:
    return value.clone()


@_mark.register_fake
def _shape_of_mark(value: torch.Tensor, name: str) -> torch.Tensor:
    return torch.empty_like(value)


@contextmanager
def marked(network: nn.Module, layers: Iterable[str]) -> Iterator[None]:
    """Mark the outputs of the modules at these paths until the block ends; a stored program may lack some."""
    modules = dict(network.named_modules())
    handles = [modules[layer].register_forward_hook(_marking(layer)) for layer in layers if layer in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def find_mark(graph: fx.Graph, layer: str) -> fx.Node | None:
    """Return the mark of `layer`."""
    marks = (node for node in graph.nodes if node.target == torch.ops.heatlens.layer.default)
    return next((mark for mark in marks if mark.args[1] == layer), None)


def take_mark(graph: fx.Graph, layer: str) -> fx.Node | None:
    """Remove all marks from the graph and return the node whose value is the output of `layer`."""
    found: fx.Node | None = None
    for node in [each for each in graph.nodes if each.target == torch.ops.heatlens.layer.default]:
        value, name = node.args
        found = value if name == layer else found
        node.replace_all_uses_with(value)
        graph.erase_node(node)
    return found


def _marking(layer: str) -> Callable[[nn.Module, object, object], object]:
    def mark(_module: nn.Module, _input: object, output: object) -> object:
        return torch.ops.heatlens.layer(output, layer) if isinstance(output, torch.Tensor) else output

    return mark

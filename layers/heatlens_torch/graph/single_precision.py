"""Write the parts of a captured graph that compute in float64 in float32, as everything else is compiled.

The proof compares the result with the network as it is. Parts in half precision are refused: their rounding cannot be
reproduced, and the network may rely on it.
"""

from typing import Any

import torch
from torch import fx

from heatlens.errors import CompileError
from heatlens_torch.errors import INSTEAD, place_of_node

_HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}


def make_single(captured: fx.GraphModule) -> None:
    """Change the graph in place.

    Raises:
        CompileError: A part computes in half precision; the message names the line of the user's code.
    """
    _refuse_halves(captured.graph)
    for node in captured.graph.nodes:
        if node.op == "get_attr":
            _single_constant(captured, node)
        node.args = _single(node.args)
        node.kwargs = _single(node.kwargs)
    captured.recompile()


def _refuse_halves(graph: fx.Graph) -> None:
    values = {node: node.meta.get("val") for node in graph.nodes if node.op == "call_function"}
    halves = {
        node: _HALVES[value.dtype]
        for node, value in values.items()
        if isinstance(value, torch.Tensor) and value.dtype in _HALVES
    }
    if halves:
        line = next(filter(None, map(place_of_node, halves)), "")  # a conversion of autocast has none
        raise CompileError(
            f"the network computes in {next(iter(halves.values()))} inside{line}: leave out autocast, half() and "
            f"bfloat16() in its forward(); {INSTEAD}"
        )


def _single(value: Any) -> Any:  # noqa: ANN401 - the arguments of any operator
    if isinstance(value, dict):
        return {key: _single(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_single(each) for each in value)
    return torch.float32 if value is torch.float64 else value


def _single_constant(captured: fx.GraphModule, node: fx.Node) -> None:
    value: Any = captured
    for part in str(node.target).split("."):
        value = getattr(value, part)
    if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
        captured.register_buffer(f"{node.name}_single", value.detach().float())
        node.target = f"{node.name}_single"

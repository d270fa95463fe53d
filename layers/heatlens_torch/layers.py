"""Layers that can carry a heatmap: network and input shape -> candidates in the order they run; the default."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from heatlens.errors import CompileError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module with a grid: its path, its class, and the grid's `(C, h, w)`."""

    name: str
    kind: str
    shape: tuple[int, int, int]


def layers_of(network: nn.Module, shape: tuple[int, int]) -> list[Candidate]:
    """List the layers that can be explained: those that run once and answer one tensor `[B,C,h,w]`, h·w above 1.

    Args:
        network: In evaluation mode.
        shape: Height and width of its input.

    Raises:
        CompileError: The network does not run on images of this shape.
    """
    seen: list[tuple[str, str, torch.Tensor, int]] = []
    handles = []
    for name, module in network.named_modules():

        def note(module: nn.Module, _input: object, output: object, name: str = name) -> None:
            if isinstance(output, torch.Tensor) and output.dim() == 4:
                seen.append((name, type(module).__name__, output, output._version))

        handles += [module.register_forward_hook(note)] if name else []
    try:
        with torch.no_grad():
            network(torch.zeros(2, 3, *shape))
    except (RuntimeError, TypeError, ValueError) as error:
        raise CompileError(f"the network does not run on an image batch of shape {(2, 3, *shape)}") from error
    finally:
        for handle in handles:
            handle.remove()
    runs = Counter(name for name, *_ in seen)
    outermost = {id(output): name for name, _, output, _ in seen}
    return [
        Candidate(name, kind, (output.shape[1], output.shape[2], output.shape[3]))
        for name, kind, output, version in seen
        if runs[name] == 1
        and outermost[id(output)] == name
        and output._version == version
        and output.shape[2:].numel() > 1
    ]


def default_layer(network: nn.Module, shape: tuple[int, int]) -> str:
    """The last layer that can be explained.

    Raises:
        CompileError: There is none.
    """
    candidates = layers_of(network, shape)
    if not candidates:
        raise CompileError("no layer of the network answers a grid: there is nothing to map")
    return candidates[-1].name

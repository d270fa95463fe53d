"""List the layers of a network that can be explained; the last one is the default."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd

from heatlens.card import Tokens
from heatlens.errors import CompileError
from heatlens.steps import COLORS
from heatlens_torch.errors import running
from heatlens_torch.graph import grids, places
from heatlens_torch.graph.grids import Layout

_SAMPLES = 2  # a batch of one would hide which dimension is the batch


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module with a grid: its path, its class, the grid's `(C, h, w)`, and its layout if it is not `[B,C,h,w]`."""

    name: str
    kind: str
    shape: tuple[int, int, int]
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    kind: str
    output: torch.Tensor
    version: int


def layers_of(network: nn.Module, shape: tuple[int, int], *, channels: int = COLORS) -> list[Candidate]:
    """List the layers that can be explained, in the order in which they end.

    A layer can be explained if it runs once, returns one tensor with a grid of more than one cell, nothing overwrites
    that tensor in place, the logits depend on the grid, and its cells are places of the image. After the last attention
    of a transformer with a class token the logits do not, and every map is empty; the cells of an attention matrix are
    pairs of tokens. Of modules that return the same tensor only the outermost is listed. Adaptive pooling is left out:
    it only resamples the layer before it.

    Args:
        network: In evaluation mode.
        shape: Height and width of its input.
        channels: Of its input.

    Raises:
        CompileError: The network does not run on images of this shape, or does not answer `[B,K]`.
    """
    candidates = _candidates(network, shape, channels)
    possible = {entry.name: layouts for entry, layouts in candidates}
    found = places.following(network, possible, _noise(shape, channels))
    return [
        Candidate(entry.name, entry.kind, layout.shape, layout.tokens)
        for entry, _ in candidates
        if (layout := found[entry.name]) is not None
    ]


def default_layer(network: nn.Module, shape: tuple[int, int], *, channels: int = COLORS) -> str:
    """Return the last layer that can be explained.

    Raises:
        CompileError: There is none.
    """
    for entry, layouts in reversed(_candidates(network, shape, channels)):
        if places.following(network, {entry.name: layouts}, _noise(shape, channels))[entry.name] is not None:
            return entry.name
    raise CompileError("no layer of the network returns a grid that its logits depend on: there is nothing to map")


def _candidates(network: nn.Module, shape: tuple[int, int], channels: int) -> list[tuple[_Seen, list[Layout]]]:
    """List the layers whose output can be a grid that the logits depend on, with the layouts it can have."""
    seen, logits = _run(network, shape, channels)
    runs = Counter(entry.name for entry in seen)
    outermost = {id(entry.output): entry for entry in seen}  # modules end from the inside out
    kept = [
        entry
        for entry in seen
        if runs[entry.name] == 1 and outermost[id(entry.output)] is entry and entry.output._version == entry.version
    ]
    found = [(entry, grids.layouts(entry.output.shape[1:], shape)) for entry in kept]
    usable = [(entry, layouts) for entry, layouts in found if layouts and layouts[0].height * layouts[0].width > 1]
    if not usable:
        return []
    gradients = torch.autograd.grad(
        logits.max(dim=1).values.sum(), [entry.output for entry, _ in usable], allow_unused=True
    )
    return [
        (entry, layouts)
        for (entry, layouts), gradient in zip(usable, gradients, strict=True)
        if gradient is not None and bool(layouts[0].grid(gradient).any())
    ]


def _noise(shape: tuple[int, int], channels: int) -> torch.Tensor:
    return torch.randn(_SAMPLES, channels, *shape, generator=torch.Generator().manual_seed(0))


def _run(network: nn.Module, shape: tuple[int, int], channels: int) -> tuple[list[_Seen], torch.Tensor]:
    """Record every module's output on noise, which unlike a blank image activates some unit of every layer."""
    seen: list[_Seen] = []

    def watch(name: str, module: nn.Module) -> None:
        def note(_module: nn.Module, _input: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point() and len(output) == _SAMPLES:
                seen.append(_Seen(name, type(module).__name__, output, output._version))

        handles.append(module.register_forward_hook(note))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in network.named_modules():
        if name and not isinstance(module, _AdaptiveAvgPoolNd | _AdaptiveMaxPoolNd):
            watch(name, module)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(requires_grad=False)
    image = _noise(shape, channels)
    try:
        with running(image.shape):
            logits = network(image.requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
        for parameter in trainable:
            parameter.requires_grad_()
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise CompileError("the network's output is not one tensor of logits [B,K]")
    return seen, logits

"""Replace the learned weights of a network by random ones, layer by layer from the logits down."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from heatlens_torch.loading.batchnorm import batchnorms, settle_batchnorm

Parameters = list[nn.Parameter]


def weight_layers(network: nn.Module, image: torch.Tensor) -> list[Parameters]:
    """List the parameters of each layer with weights, in the order in which they run, the last at the logits.

    A layer is a module that has a parameter of two or more dimensions, with the modules after it that have smaller ones
    only, such as its norm.

    Args:
        network: In evaluation mode.
        image: `[B,3,H,W]`, to see in which order modules run.
    """
    owners = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    begun = _order(network, owners, image)
    places, place = [], -1
    for module in owners:
        # A module that never runs by itself, as a projection inside an attention, follows the one registered before it.
        place = begun.get(module, place)
        places.append(place)
    layers: list[Parameters] = []
    for _, module in sorted(zip(places, owners, strict=True), key=lambda pair: pair[0]):
        own = list(module.parameters(recurse=False))
        if not layers or any(parameter.dim() > 1 for parameter in own):
            layers.append(own)
        else:
            layers[-1] += own
    return layers


@contextmanager
def randomized(
    network: nn.Module, layers: Sequence[Parameters], batches: Sequence[torch.Tensor], *, seed: int
) -> Iterator[None]:
    """Give some layers random weights until the block ends.

    A weight is drawn from a normal distribution with the same root mean square, a smaller parameter (bias, scale) is
    shuffled, and the BatchNorms of these layers take their statistics from `batches`. So the network works like a newly
    initialized one, at any depth.

    Args:
        network: In evaluation mode; restored exactly afterwards.
        layers: Some of `weight_layers`.
        batches: Each `[B,3,H,W]`, two or more.
        seed: The same seed draws the same weights.
    """
    before = {key: value.clone() for key, value in network.state_dict().items()}
    rng = torch.Generator().manual_seed(seed)
    try:
        with torch.no_grad():
            for parameter in (each for layer in layers for each in layer):
                parameter.copy_(_drawn(parameter, rng))
        drawn = {id(parameter) for layer in layers for parameter in layer}
        norms = [norm for norm in batchnorms(network) if norm.weight is None or id(norm.weight) in drawn]
        settle_batchnorm(network, norms, batches)
        yield
    finally:
        network.load_state_dict(before)


def _order(network: nn.Module, owners: Sequence[nn.Module], image: torch.Tensor) -> dict[nn.Module, int]:
    """Map each module that runs to the number of them that began before it."""
    begun: dict[nn.Module, int] = {}

    def note(module: nn.Module, _input: object) -> None:
        begun.setdefault(module, len(begun))

    handles = [module.register_forward_pre_hook(note) for module in owners]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return begun


def _drawn(parameter: nn.Parameter, rng: torch.Generator) -> torch.Tensor:
    if parameter.dim() > 1:
        return torch.randn(parameter.shape, generator=rng) * parameter.square().mean().sqrt()
    return parameter[torch.randperm(len(parameter), generator=rng)] if parameter.dim() else parameter

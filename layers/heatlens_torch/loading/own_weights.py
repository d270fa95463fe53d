"""Tell a factory that brings its weights from one that draws them at random."""

from typing import Any

import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.loading import zoo
from heatlens_torch.loading.batchnorm import batchnorms

OTHER_SEED = 1


def build(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a network that brings its weights; they are left as they are.

    Raises:
        ModelFileError: Another seed gives other weights, so at least some are drawn at random.
    """
    network, other = (_seeded(architecture, arguments, seed) for seed in (0, OTHER_SEED))
    drawn = _differing(network, other)
    if drawn:
        raise ModelFileError(
            f"weights: {architecture!r} draws {drawn[0]} at random, so it does not bring all of its weights: name "
            'their file (--weights FILE, or weights in model.toml), or weights = "seed:0" for a trial without training'
        )
    return network


def build_untrained(architecture: str, arguments: dict[str, Any], seed: int) -> nn.Module:
    """Build a network with the weights that its constructor draws from a seed.

    Raises:
        ModelFileError: It has weights that were trained, which settling an untrained network would alter.
    """
    network = _seeded(architecture, arguments, seed)
    if any(norm.running_mean is not None and norm.running_mean.any() for norm in batchnorms(network)):
        raise _trained(architecture)
    drawn = _drawn(network)
    differing = set(_differing(network, _seeded(architecture, arguments, seed + OTHER_SEED)))
    if len(set(drawn) - differing) > len(drawn) / 2:
        raise _trained(architecture)
    return network


def _trained(architecture: str) -> ModelFileError:
    return ModelFileError(
        f"weights: {architecture!r} brings weights that do not depend on the seed, and seed:N would alter them: "
        'weights = "own" (or no weights at all) leaves them as they are'
    )


def _seeded(architecture: str, arguments: dict[str, Any], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return zoo.build(architecture, arguments)


def _differing(network: nn.Module, other: nn.Module) -> list[str]:
    theirs = other.state_dict()
    return [key for key, value in network.state_dict().items() if key in theirs and not _equal(value, theirs[key])]


def _equal(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.shape == two.shape and torch.equal(one, two)


def _drawn(network: nn.Module) -> list[str]:
    """List the trainable weights that are not constant: a constructor that brings none has drawn them."""
    return [
        key
        for key, value in network.named_parameters()
        if value.requires_grad and value.dim() > 1 and value.numel() > 1 and not (value == value.flatten()[0]).all()
    ]

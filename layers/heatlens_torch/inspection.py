"""List the layers of a described network that could be compiled, with their grids."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heatlens_torch.graph.layers import Candidate, PassedOver, resolve, survey
from heatlens_torch.graph.probe import probe, target
from heatlens_torch.loading import user_functions
from heatlens_torch.loading.described import Described, describe
from heatlens_torch.loading.network import build_network
from heatlens_torch.loading.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Inspection:
    """A description, the source of its network, its layers that can be explained, in order, and others with why not."""

    described: Described
    source: dict[str, str]
    layers: list[Candidate]
    passed: list[PassedOver]


def inspect_model(what: Path | str, options: Mapping[str, Any] | None = None) -> Inspection:
    """Build the network of a description or a source, and list its layers.

    Raises:
        ModelError: As `compile_model` before it exports.
    """
    return inspect_described(describe(what, options))


def inspect_described(described: Described) -> Inspection:
    """Build the network of a complete description, and list its layers, as `inspect_model` does."""
    spec = described.spec
    with user_functions.importable(described.home), described.located():
        built = build_network(spec, described.home)
        given = {candidate.name: candidate for candidate in _given(spec, built.network)}
        found, passed = survey(
            built.network, spec.preprocess.shape, channels=spec.preprocess.channels, gradients=spec.gradients
        )
        layers = [given.pop(layer.name, layer) for layer in found]
        passed = [each for each in passed if each.name not in given]
        return Inspection(described, built.source, [*layers, *given.values()], passed)


def _given(spec: ModelSpec, network: nn.Module) -> Iterator[Candidate]:
    """Yield the layers whose grid the description gives."""
    sample = torch.zeros(2, spec.preprocess.channels, *spec.preprocess.shape)
    for name in spec.layers:
        grid = spec.grid_of(name)
        if grid:
            maker = resolve(network, name, spec.preprocess.shape, channels=spec.preprocess.channels)
            layout = probe(
                network, maker, sample, grid=grid, class_tokens=spec.class_tokens, gradients=spec.gradients
            ).layout
            yield Candidate(maker, type(target(network, maker)).__name__, layout.shape, layout.tokens)

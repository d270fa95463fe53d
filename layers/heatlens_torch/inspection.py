"""What could be compiled: `model.toml` -> the network's candidate layers with their grids."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from heatlens_torch.graph.layers import Candidate, layers_of
from heatlens_torch.graph.probe import probe, target
from heatlens_torch.loading import user_functions
from heatlens_torch.loading.network import build_network
from heatlens_torch.loading.spec import ModelSpec, located, read_spec


@dataclass(frozen=True, slots=True)
class Inspection:
    """The description, where its network came from, and the layers that can be explained, in the order they run."""

    spec: ModelSpec
    source: dict[str, str]
    layers: list[Candidate]


def inspect_model(path: Path) -> Inspection:
    """Build the network that a description describes, and look at its layers.

    Raises:
        ModelError: As `compile_model` before it exports.
    """
    spec = read_spec(path)
    with user_functions.importable(path.parent), located(path):
        built = build_network(spec, path.parent)
        given = {candidate.name: candidate for candidate in _given(spec, built.network)}
        found = [given.pop(each.name, each) for each in layers_of(built.network, spec.preprocess.shape)]
        return Inspection(spec, built.source, [*found, *given.values()])


def _given(spec: ModelSpec, network: nn.Module) -> Iterator[Candidate]:
    """The layers whose grid the description says."""
    some = torch.zeros(2, 3, *spec.preprocess.shape)
    for name in spec.layers:
        grid = spec.grid_of(name)
        if grid:
            layout = probe(network, name, some, grid=grid, class_tokens=spec.class_tokens).layout
            yield Candidate(name, type(target(network, name)).__name__, layout.shape, layout.tokens)

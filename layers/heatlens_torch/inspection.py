"""What could be compiled: `model.toml` -> the network's candidate layers with their grids."""

from dataclasses import dataclass
from pathlib import Path

from heatlens_torch import hooks
from heatlens_torch.layers import Candidate, layers_of
from heatlens_torch.material import material_of
from heatlens_torch.spec import ModelSpec, located, read_spec


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
    with hooks.importable(path.parent), located(path):
        material = material_of(spec, path.parent)
        return Inspection(spec, material.source, layers_of(material.network, spec.preprocess.shape))

"""Store a network in a model folder (`compile --with-torch`), and load it again without its checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch import nn

from heatlens.card import Card, TorchWeights
from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.loading import zoo
from heatlens_torch.loading.checkpoints import digest_of
from heatlens_torch.loading.final_activation import remove_final_activation
from heatlens_torch.loading.first_outputs import name_first_outputs
from heatlens_torch.loading.in_place import allow_in_place
from heatlens_torch.loading.outputs import select_output
from heatlens_torch.loading.plain_network import make_float32
from heatlens_torch.loading.sources import registry

if TYPE_CHECKING:  # loading must work without the packages that only compiling needs
    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.spec import ModelSpec

WEIGHTS_FILE = "weights.safetensors"


def check_storable(spec: "ModelSpec") -> None:
    """Check that the network has an architecture to name, before the minutes of exporting.

    Raises:
        ModelFileError: The network comes from a file or folder.
    """
    if spec.constants or spec.input_entry is not None:
        raise ModelFileError("constants: --with-torch stores networks that take the image alone")
    parts = registry.split(spec.architecture)
    if parts and parts[0] not in zoo.SCHEMES:
        raise ModelFileError(
            f"architecture: --with-torch stores weights for an architecture by name, and {parts[0]}:… is none: "
            "name the architecture and its weights, or compile without --with-torch"
        )


def store_network(spec: "ModelSpec", built: "BuiltNetwork", images: torch.Tensor, folder: Path) -> TorchWeights:
    """Write `weights.safetensors`, and check that the network made from it returns the same logits.

    Args:
        spec: The model description.
        built: The network and the arguments it was built with.
        images: `[B,3,H,W]` to compare on.
        folder: The model folder.

    Raises:
        CompileError: The architecture's name and arguments do not reproduce the network.
    """
    path = folder / WEIGHTS_FILE
    state = {key: value.detach().clone().contiguous() for key, value in built.network.state_dict().items()}
    path.write_bytes(safetensors.torch.save(state))  # save_file would make the file readable by its owner only
    stored = TorchWeights(
        file=path.name,
        sha256=digest_of(path),
        architecture=spec.architecture,
        arguments=built.arguments,
        output_entry=spec.output_entry,
    )
    again = _network(stored, path, images)
    with torch.no_grad():
        same = torch.equal(again(images), built.network(images))
    if not same:
        raise CompileError("the network made from its architecture, arguments and weights returns other logits")
    return stored


def load_network(folder: Path, card: Card) -> nn.Module:
    """Load the network of a compiled model, in evaluation mode, returning its logits alone.

    Args:
        folder: The model folder, verified by `read_card`.
        card: Its card.

    Raises:
        CardError: The model was compiled without it.
        ModelFileError: The architecture cannot be built here.
    """
    stored = card.weights
    return _network(stored, folder / stored.file, torch.zeros(2, card.preprocess.channels, *card.preprocess.shape))


def _network(stored: TorchWeights, path: Path, images: torch.Tensor) -> nn.Module:
    network = zoo.build(stored.architecture, stored.arguments)
    make_float32(network)
    network.load_state_dict(safetensors.torch.load_file(path))
    select_output(network, stored.output_entry, images)
    name_first_outputs(network, images)
    remove_final_activation(network, images)
    allow_in_place(network, images)
    return network

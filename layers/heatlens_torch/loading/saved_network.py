"""The network in a model folder: what `compile --with-torch` adds -> the network again, without its checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch import nn

from heatlens.card import Card, TorchWeights
from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.loading import zoo
from heatlens_torch.loading.checkpoints import digest_of
from heatlens_torch.loading.outputs import select_output

if TYPE_CHECKING:  # where a network is only loaded, the tools of compiling are not installed
    from heatlens_torch.loading.network import BuiltNetwork
    from heatlens_torch.loading.spec import ModelSpec

WEIGHTS_FILE = "weights.safetensors"


def check_storable(spec: "ModelSpec") -> None:
    """Tell before the minutes of exporting that a source has no architecture to name.

    Raises:
        ModelFileError: The network is a program of its own.
    """
    if spec.program is not None:
        raise ModelFileError(
            "architecture: --with-torch stores weights for an architecture by name, and a torch.export file is none: "
            "name the architecture and its weights, or compile without --with-torch"
        )


def store_network(spec: "ModelSpec", built: "BuiltNetwork", images: torch.Tensor, folder: Path) -> TorchWeights:
    """Write `weights.safetensors`, and see that the network made from it answers the same.

    Args:
        spec: The model description.
        built: The network and the arguments it was built with.
        images: `[B,3,H,W]` to compare on.
        folder: The model folder.

    Raises:
        CompileError: The architecture's name and arguments do not make the network again.
    """
    path = folder / WEIGHTS_FILE
    state = {key: value.detach().clone().contiguous() for key, value in built.network.state_dict().items()}
    path.write_bytes(safetensors.torch.save(state))  # its own writer makes a file that nobody else may read
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
        raise CompileError("the network made from its architecture, arguments and weights answers something else")
    return stored


def load_network(folder: Path, card: Card) -> nn.Module:
    """The network of a compiled model, in evaluation mode, answering its logits alone.

    Args:
        folder: The model folder, as `read_card` has verified it.
        card: Its card.

    Raises:
        CardError: The model was compiled without it.
        ModelFileError: The architecture is not to be found here.
    """
    stored = card.weights
    return _network(stored, folder / stored.file, torch.zeros(2, 3, *card.preprocess.shape))


def _network(stored: TorchWeights, path: Path, images: torch.Tensor) -> nn.Module:
    network = zoo.build(stored.architecture, stored.arguments)
    network.load_state_dict(safetensors.torch.load_file(path))
    if stored.output_entry is not None:
        select_output(network, stored.output_entry, images)
    return network

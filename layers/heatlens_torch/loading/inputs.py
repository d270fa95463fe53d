"""Call a network that takes more than the image: the image under its name, and constants for the rest."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from heatlens.errors import ModelFileError

Constant = float | Sequence[float]


def place_image(network: nn.Module, entry: int | str | None, constants: Mapping[str, Constant]) -> None:
    """Let the network be called with the image alone.

    Its forward gets the image under its name, and a row of each constant for every image under theirs. A network that
    takes one mapping gets it with these keys.

    Args:
        network: Changed in place.
        entry: The parameter or key of the image, or the parameter's index; `None` for the first.
        constants: Values by parameter or key: a number is `[B]`, a list of N numbers is `[B,N]`.

    Raises:
        ModelFileError: The network's forward takes nothing of that name; the message lists what it takes.
    """
    if entry is None and not constants:
        return
    names = parameters(network)
    name: Any = names[entry] if isinstance(entry, int) and entry < len(names) else entry or names[0]
    mapped = name not in names and len(names) == 1
    for key, what in [(name, "input_entry"), *((constant, "constants") for constant in constants)]:
        if key not in names and not mapped:
            raise ModelFileError(f"{what}: the network's forward() takes no {key!r}: it takes {', '.join(names)}")
    rows = {key: torch.tensor(value) for key, value in constants.items()}

    def forward(self: nn.Module, image: torch.Tensor) -> Any:  # noqa: ANN401 - what the network answers
        values = {key: row.to(image.device).expand(image.shape[0], *row.shape) for key, row in rows.items()}
        values[name] = image
        return type(self).forward(self, values) if mapped else type(self).forward(self, **values)

    # torch.export reads the signature, so a hook would not do. A copy of the network gets a partial of its own.
    network.forward = partial(forward, network)


def parameters(network: nn.Module) -> list[str]:
    """List the names that the network's forward takes."""
    return list(inspect.signature(network.forward).parameters)

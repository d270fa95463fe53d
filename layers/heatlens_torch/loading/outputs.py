"""Select the logits of a network that returns a tuple, list, dict or dataclass."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.errors import running


def select_output(network: nn.Module, entry: int | str | None, image: torch.Tensor) -> None:
    """Let the network return its logits alone.

    A forward hook on the network replaces its output, so that module paths and weight names stay the user's, for
    torch.export and pytorch-grad-cam alike.

    Args:
        network: In evaluation mode; changed in place.
        entry: Key, field or index of the logits; `None` for a network that returns one tensor.
        image: `[B,3,H,W]`, to see what it returns.

    Raises:
        ModelFileError: There is no such entry, or `entry` is needed and missing; the message lists the entries.
        CompileError: The network does not run on the image.
    """
    with running(image.shape), torch.no_grad():
        answer = network(image)
    if isinstance(answer, torch.Tensor):
        if entry is not None:
            raise ModelFileError("output_entry: the network answers one tensor, there is nothing to choose")
        return
    entries = _entries(answer)
    if not entries:
        raise ModelFileError(
            f"output_entry: the network answers a {type(answer).__name__}, which has no tensors to take"
        )
    available = ", ".join(f"{key!r} {list(value.shape)}" for key, value in entries.items())
    if entry is None:
        raise ModelFileError(f"output_entry: missing: the network answers several tensors: {available}")
    if entry not in entries:
        raise ModelFileError(f"output_entry: the network answers no {entry!r}: it has {available}")
    network.register_forward_hook(lambda _module, _input, output: _entries(output)[entry])


def _entries(answer: object) -> dict[int | str, torch.Tensor]:
    """List the tensors of an output by key, by field and by index; a named tuple has both."""
    found: dict[int | str, object] = {}
    if isinstance(answer, Mapping):
        found = {key: value for key, value in answer.items() if isinstance(key, int | str)}
    elif is_dataclass(answer):
        found = {field.name: getattr(answer, field.name) for field in fields(answer)}
    elif isinstance(answer, tuple | list):
        names = getattr(answer, "_fields", ())
        found = {**dict(enumerate(answer)), **dict(zip(names, answer, strict=False))}
    return {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}

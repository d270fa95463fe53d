"""Select the logits of a network that returns a tuple, list, dict or dataclass."""

import threading
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import torch
from torch import nn

from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.errors import running


def select_output(network: nn.Module, entry: int | str | None, image: torch.Tensor) -> None:
    """Let the network return its logits alone, as `[B,K]`.

    A forward hook on the network replaces its output, so that module paths and weight names stay the user's, for
    torch.export and pytorch-grad-cam alike.

    Args:
        network: In evaluation mode; changed in place.
        entry: Key, field or index of the logits, or `key.inner` of an entry within an entry; `None` for a network that
            returns one tensor, alone or in a list.
        image: `[B,3,H,W]`, two or more, to see what it returns.

    Raises:
        ModelFileError: There is no such entry, or `entry` is needed and missing; the message lists the entries.
        CompileError: The network does not run on the image.
    """
    with running(image.shape, network), torch.no_grad():
        answer = network(image)
    _select_tensor(network, answer, entry)
    _answer_rows(network, image)


def _answer_rows(network: nn.Module, image: torch.Tensor) -> None:
    """Let the network answer `[B,K]` where it answers `[B]`, `[B,1,1]` or `[B,K,1,1]`, or drops a batch of one."""
    with torch.no_grad():
        with running(image.shape, network):
            logits = network(image)
        with running(image[:1].shape, network):
            single = network(image[:1])
    _check_logits(logits)
    flat = logits.shape[:1] == image.shape[:1] and all(size == 1 for size in logits.shape[2:])
    if flat and not logits.dim() == single.dim() == 2:
        called = threading.local()

        def note(_module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            called.images = given[0].shape[0]

        network.register_forward_pre_hook(note, prepend=True)  # before the image gets another place
        network.register_forward_hook(lambda _module, _given, output: output.reshape(called.images, -1))


def _check_logits(logits: torch.Tensor) -> None:
    if not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise CompileError(
            f"the network answers {kind}, which has no gradient: let it return the logits before argmax()"
        )
    if logits.dim() > 2 and any(size > 1 for size in logits.shape[2:]):
        what = "a map for each class, as a segmentation does" if logits.dim() == 4 else "and not one number for a class"
        raise CompileError(
            f"the network answers {list(logits.shape)}, {what}: logits are [B,K], [B], [B,1,1] or [B,K,1,1]"
        )


def _select_tensor(network: nn.Module, answer: object, entry: int | str | None) -> None:
    if isinstance(answer, torch.Tensor):
        if entry is not None:
            raise ModelFileError("output_entry: the network answers one tensor, there is nothing to choose")
        return
    entries = _entries(answer) if entry is None else {}
    entries = entries or _every_entry(answer)
    if entry is None and len({id(value) for value in entries.values()}) == 1:
        entry = next(iter(entries))
    if not entries:
        raise ModelFileError(
            f"output_entry: the network answers a {type(answer).__name__}, which has no tensors to take"
        )
    available = ", ".join(f"{key!r} {list(value.shape)}" for key, value in entries.items())
    if entry is None:
        raise ModelFileError(f"output_entry: missing: the network answers several tensors: {available}")
    if entry not in entries:
        raise ModelFileError(f"output_entry: the network answers no {entry!r}: it has {available}")
    network.register_forward_hook(lambda _module, _input, output: _every_entry(output)[entry])


def _every_entry(answer: object) -> dict[int | str, torch.Tensor]:
    """List the tensors of an output, and those of entries within entries as `key.inner`."""
    found = _entries(answer)
    for key, value in _fields(answer).items():
        found |= {f"{key}.{inner}": tensor for inner, tensor in _every_entry(value).items()}
    return found


def _entries(answer: object) -> dict[int | str, torch.Tensor]:
    """List the tensors of an output by key, by field and by index; a named tuple has both."""
    return {key: value for key, value in _fields(answer).items() if isinstance(value, torch.Tensor)}


def _fields(answer: object) -> dict[int | str, object]:
    found: dict[int | str, object] = {}
    if isinstance(answer, Mapping):
        found = {key: value for key, value in answer.items() if isinstance(key, int | str)}
    elif is_dataclass(answer):
        found = {field.name: getattr(answer, field.name) for field in fields(answer)}
    elif isinstance(answer, tuple | list):
        names = getattr(answer, "_fields", ())
        found = {**dict(enumerate(answer)), **dict(zip(names, answer, strict=False))}
    return found

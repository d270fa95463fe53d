"""Weights: a checkpoint file -> state dict -> the network filled with it; only tensors are ever unpickled."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from heatlens.errors import ModelFileError

State = dict[str, torch.Tensor]
LIGHTNING_PREFIX = "model."
NAMED_KEYS = 3  # of a mismatch: enough to recognise it, short enough for one sentence


def load_weights(network: nn.Module, path: Path) -> str:
    """Fill `network` with the state dict in `path`.

    Args:
        network: Changed in place.
        path: `.safetensors`, a `.pt` or `.pth` state dict, or a Lightning `.ckpt`.

    Returns:
        The file's sha256 (hex).

    Raises:
        ModelFileError: The file is missing, of another kind, holds objects other than tensors where none are allowed,
            or does not fit the network.
    """
    state = read_state(path)
    _check_fit(network, state, path.name)
    network.load_state_dict(state)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state(path: Path) -> State:
    """Read the state dict of a checkpoint, on the CPU; a Lightning checkpoint's `model.` prefix is taken off."""
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise ModelFileError(f"weights: {path.name} is none of {', '.join(_READERS)}, seed:N")
    if not path.is_file():
        raise ModelFileError(f"weights: {path.name}: no such file beside the model description")
    return reader(path)


def _read_safetensors(path: Path) -> State:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFileError(f"weights: {path.name} is not a safetensors file") from error


def _read_pickled(path: Path) -> State:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"weights: {path.name} is not a plain checkpoint of tensors, and anything else in it could run code: "
            "save the state dict alone"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ModelFileError(f"weights: {path.name} is not a checkpoint that torch can read") from error
    return _state_of(content, path.name)


def _state_of(content: object, name: str) -> State:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = _without_prefix(content["state_dict"])
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelFileError(f"weights: {name} holds no state dict (names to tensors)")
    return dict(content)


def _without_prefix(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Keep the network of a Lightning module; what lies beside it (loss, metrics) serves training only."""
    inner = {key.removeprefix(LIGHTNING_PREFIX): v for key, v in state.items() if key.startswith(LIGHTNING_PREFIX)}
    return inner or state


def _check_fit(network: nn.Module, state: State, name: str) -> None:
    """Say in one sentence how the first few names or shapes differ; torch's own message lists all of them."""
    wanted = network.state_dict()
    # Written by torch since 0.4.1, absent from older checkpoints, and unused in evaluation.
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    if missing or unexpected:
        raise ModelFileError(f"weights: {name} does not fit the architecture: {_some(missing, unexpected)}")
    reshaped = [key for key in state if state[key].shape != wanted[key].shape]
    if reshaped:
        shapes = [f"{key} is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}" for key in reshaped]
        raise ModelFileError(f"weights: {name} does not fit the architecture: {_first(shapes)}")


def _some(missing: list[str], unexpected: list[str]) -> str:
    parts = [("missing", missing), ("unexpected", unexpected)]
    return "; ".join(f"{what} {_first(keys)}" for what, keys in parts if keys)


def _first(items: list[str]) -> str:
    more = len(items) - NAMED_KEYS
    return ", ".join(items[:NAMED_KEYS]) + (f" and {more} more" if more > 0 else "")


_READERS: dict[str, Callable[[Path], State]] = {
    ".safetensors": _read_safetensors,
    ".pt": _read_pickled,
    ".pth": _read_pickled,
    ".ckpt": _read_pickled,
}

"""Read the state dict of a checkpoint file, and fill a network with it; only tensors are unpickled."""

import hashlib
import pickle
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import safetensors
import safetensors.torch
import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.loading.foreign import SAVE_STATE, instead_of_pickle, refuse_foreign
from heatlens_torch.loading.pickle_scan import Inert, Stubs, is_torchscript, uses_of

State = dict[str, torch.Tensor]
LIGHTNING = "pytorch-lightning_version"
STATE_DICT = "state_dict"
HYPER_PARAMETERS = "hyper_parameters"
COMPILED = "_orig_mod."  # torch.compile inserts it wherever a module was compiled
SAFETENSORS_LENGTH = 8
NAMED_KEYS = 3  # of a mismatch, in the message


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds.

    `state` is its state dict, on the CPU; `entry` is the key of that state dict, empty if it is the file itself;
    `hyper_parameters` are the plain values of a Lightning checkpoint's; `lists` are the lists of strings beside the
    state dict, such as class names; `dropped` are the globals that were not called
    (`module.name`); `sha256` is the file's.
    """

    state: State
    sha256: str
    entry: str = ""
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


def read_checkpoint(path: Path, *, entry: str | None = None, sha256: str | None = None) -> Checkpoint:
    """Read a checkpoint; of the functions it names only those that make tensors are called.

    Args:
        path: A safetensors file, a file of `torch.save`, or a Lightning checkpoint; its bytes say which.
        entry: The key of the state dict, where the file has several.
        sha256: The expected digest (hex); not checked if `None`.

    Raises:
        ModelFileError: The file is missing, of another kind or has another digest; or its state dict is not a mapping
            of names to tensors.
    """
    if not path.is_file():
        raise ModelFileError(f"weights: {path.name}: no such file beside the model description")
    with _about_weights():
        refuse_foreign(path)
    reader = _read_safetensors if path.suffix == ".safetensors" or is_safetensors(path) else _read_pickled
    return reader(path, check_digest(path, sha256), entry)


def is_safetensors(path: Path) -> bool:
    """Tell a safetensors file: the length of its header, and JSON."""
    with path.open("rb") as file:
        start = file.read(SAFETENSORS_LENGTH + 1)
    length = int.from_bytes(start[:SAFETENSORS_LENGTH], "little")
    return start[SAFETENSORS_LENGTH:] == b"{" and length < path.stat().st_size


def load_weights(network: nn.Module, checkpoint: Checkpoint, *, name: str, prefix: str | None = None) -> str:
    """Fill `network` with a checkpoint's state dict.

    Wrappers of the network in a training program add a prefix to all of its names (`model.` in a Lightning module,
    `module.` by data parallelism or averaging). The prefix is found by comparing names; entries without it (losses,
    metrics, a count of averages) serve training only. torch.compile's `_orig_mod.` is removed everywhere.

    Args:
        network: Changed in place.
        checkpoint: What the file holds.
        name: Of the file, for messages.
        prefix: Of the names that belong to the network; found by comparing names if `None`.

    Returns:
        The prefix.

    Raises:
        ModelFileError: Names or shapes do not fit; nothing was changed. The message names the first few.
    """
    state = {key.replace(COMPILED, ""): value for key, value in checkpoint.state.items()}
    wanted = network.state_dict()
    found = _prefix(state, wanted, name) if prefix is None else prefix
    inner = {key.removeprefix(found): value for key, value in state.items() if key.startswith(found)}
    _check_fit(wanted, inner, name, found)
    network.load_state_dict(inner, strict=False)  # strict would miss the counts that older checkpoints lack
    return found


def check_digest(path: Path, expected: str | None) -> str:
    """Compute the sha256 of a file (hex), and compare it with the expected one, if there is one.

    Raises:
        ModelFileError: They differ.
    """
    digest = digest_of(path)
    if expected is not None and digest != expected.lower():
        raise ModelFileError(f"sha256: {path.name} has {digest}, so it is not the file that was meant")
    return digest


def digest_of(path: Path) -> str:
    """Compute the sha256 of a file (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _about_weights() -> Iterator[None]:
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"weights: {error}") from error


# --------------------------------------------------------------------------------------------------------- the readers


def _read_safetensors(path: Path, sha256: str, entry: str | None) -> Checkpoint:
    if entry is not None:
        raise ModelFileError(f"weights_entry: {path.name} is a safetensors file, which has no entries to choose from")
    try:
        return Checkpoint(safetensors.torch.load_file(path), sha256)
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFileError(f"weights: {path.name} is not a safetensors file") from error


def _read_pickled(path: Path, sha256: str, entry: str | None) -> Checkpoint:
    stubs, content = _unpickled(path)
    _refuse_module(content, stubs, path.name)
    found, entries = _entry(content, entry, path.name)
    state = entries[found] if found else content
    if not isinstance(state, Mapping):
        raise ModelFileError(f"weights: {path.name} holds no state dict (names to tensors)")
    return Checkpoint(
        state=_tensors(state, stubs, path.name, found),
        sha256=sha256,
        entry=found,
        hyper_parameters=_plain_items(entries.get(HYPER_PARAMETERS)),
        lists={str(key): list(value) for key, value in entries.items() if _is_names(value)},
        dropped=stubs.unknown_globals(content),
    )


def _unpickled(path: Path) -> tuple[Stubs, object]:
    if is_torchscript(path):
        raise ModelFileError(
            f"weights: {path.name} is TorchScript, whose program would run while it is read: get its weights where it "
            "was made, torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt'), and name the architecture"
        )
    try:
        if tarfile.is_tarfile(path):
            raise ModelFileError(
                f"weights: {path.name} has torch's oldest format, which runs what it holds: save its state dict again "
                "with a newer torch"
            )
        stubs = Stubs(uses_of(path))
        with stubs.installed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol, and about storages that torch deprecates
            return stubs, torch.load(path, map_location="cpu", weights_only=True)
    except ModelFileError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"weights: {path.name} is not a plain checkpoint of tensors, and anything else in it could run code: "
            "save the state dict alone"
        ) from error
    except Exception as error:  # the reader of a malformed pickle raises many unrelated types
        raise ModelFileError(f"weights: {path.name} is not a checkpoint that torch can read") from error


# ------------------------------------------------------------------------------------------------- the state dict in it


def _refuse_module(content: object, stubs: Stubs, name: str) -> None:
    """Refuse a pickled network, as the content or under a key: it is code as well as weights."""
    entries = content if isinstance(content, dict) else {"": content}
    for key, value in entries.items():
        if isinstance(value, Inert) and isinstance(value.contents, dict) and "_modules" in value.contents:
            where = f"its entry {key!r}" if key else name
            if key and _state_dicts(entries):
                continue  # a criterion beside the weights
            raise _pickled(where, "module", stubs.origin(value) or "", name)
    if isinstance(content, Inert):
        raise _pickled(name, "object", stubs.origin(content) or "", name)


def _pickled(where: str, kind: str, origin: str, name: str) -> ModelFileError:
    return ModelFileError(
        f"weights: {where} is a whole pickled {kind} ({origin}), which is code as well as weights: "
        f"{instead_of_pickle(origin, name)}"
    )


def _entry(content: object, wanted: str | None, name: str) -> tuple[str, Mapping[str, Any]]:
    """Find the key of the state dict, empty if it is the content itself; return it and all entries."""
    entries = content if isinstance(content, Mapping) else {}
    candidates = _state_dicts(entries)
    if wanted is not None:
        if not isinstance(entries.get(wanted), Mapping):
            has = ", ".join(candidates) or "none"
            raise ModelFileError(f"weights_entry: {name} has no state dict under {wanted!r}: it has {has}")
        return wanted, entries
    if isinstance(entries.get(STATE_DICT), Mapping) and (LIGHTNING in entries or len(candidates) < 2):
        return STATE_DICT, entries
    if len(candidates) > 1:
        raise ModelFileError(
            f"weights: {name} holds several state dicts ({', '.join(candidates)}): choose one, such as --set "
            f"weights_entry={candidates[-1]} (in model.toml weights_entry)"
        )
    return (candidates[0] if candidates else ""), entries


def _state_dicts(entries: Mapping[Any, object]) -> list[str]:
    return [
        key
        for key, value in entries.items()
        if isinstance(key, str)
        and isinstance(value, Mapping)
        and any(isinstance(each, torch.Tensor) for each in value.values())
    ]


def _tensors(state: Mapping[Any, object], stubs: Stubs, name: str, entry: str) -> State:
    """Return the tensors by name; refuse unknown objects among them and drop other plain values."""
    tensors: State = {}
    for key, value in state.items():
        unknown = stubs.origin(state) or min(stubs.origins((key, value)), default=None)
        if unknown is not None:
            where = f"{entry}: {key}" if entry else str(key)
            raise ModelFileError(
                f"weights: {name}: {where} is a {unknown} instead of a tensor and is not read, because it could run "
                f"code: {SAVE_STATE}"
            )
        if isinstance(value, torch.Tensor) and isinstance(key, str):
            tensors[key] = value
    if state and not tensors:
        raise ModelFileError(f"weights: {name} holds no state dict (names to tensors)")
    return tensors


def _plain_items(value: object) -> dict[str, Any]:
    """Select the hyper-parameters that are plain values; those of a `Namespace` are its attributes."""
    items = value.contents if isinstance(value, Inert) else value
    if not isinstance(items, Mapping):
        return {}
    return {key: each for key, each in items.items() if isinstance(key, str) and _is_plain(each)}


def _is_names(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(type(each) is str for each in value)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


# ------------------------------------------------------------------------------------------------- fitting the network


def _prefix(state: State, wanted: Mapping[str, torch.Tensor], name: str) -> str:
    """Find the prefix that has all of the network's names in the state, else the one that has most of them."""
    needed = [key for key in wanted if not _is_count(key)]
    if not needed or all(key in state for key in needed):
        return ""
    before = {key.removesuffix(last) for last in needed for key in state if key.endswith(f".{last}")} | {""}
    shares = {prefix: sum(prefix + key in state for key in needed) for prefix in sorted(before)}
    whole = [prefix for prefix, count in shares.items() if count == len(needed)]
    if len(whole) > 1:
        raise ModelFileError(
            f"weights: {name} holds the network several times ({', '.join(whole)}): choose one, such as --set "
            f"weights_prefix={whole[-1]} (in model.toml weights_prefix)"
        )
    return whole[0] if whole else max(shares, key=lambda prefix: shares[prefix])


def _check_fit(wanted: Mapping[str, torch.Tensor], state: State, name: str, prefix: str) -> None:
    """Name the first few names or shapes that differ; torch's own message lists all of them."""
    under = f" under the prefix {prefix!r}" if prefix else ""
    missing = [key for key in wanted if key not in state and not _is_count(key)]
    unexpected = [key for key in state if key not in wanted]
    if missing or unexpected:
        raise ModelFileError(f"weights: {name} does not fit the architecture{under}: {_some(missing, unexpected)}")
    reshaped = [key for key in state if state[key].shape != wanted[key].shape]
    if reshaped:
        shapes = [f"{key} is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}" for key in reshaped]
        raise ModelFileError(f"weights: {name} does not fit the architecture{under}: {_first(shapes)}")


def _is_count(key: str) -> bool:
    """Tell whether a key is BatchNorm's count of batches: absent from checkpoints before torch 0.4.1, unused here."""
    return key.endswith("num_batches_tracked")


def _some(missing: list[str], unexpected: list[str]) -> str:
    parts = [("missing", missing), ("unexpected", unexpected)]
    return "; ".join(f"{what} {_first(keys)}" for what, keys in parts if keys)


def _first(items: list[str]) -> str:
    more = len(items) - NAMED_KEYS
    return ", ".join(items[:NAMED_KEYS]) + (f" and {more} more" if more > 0 else "")

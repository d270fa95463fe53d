"""Make checkpoints of every kind that users have, from a network and its state dict.

`python -m tests.support.checkpoints FOLDER` writes them all, to look at.
"""

import argparse
import enum
import io
import os
import pathlib
import pickle
import sys
import tarfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

State = dict[str, torch.Tensor]
LIGHTNING = {"pytorch-lightning_version": "2.6.0", "epoch": 3, "global_step": 100, "loops": {}, "lr_schedulers": []}


class Tiny(nn.Module):
    """Two convolutions, a norm, and a linear head of `classes` logits."""

    def __init__(self, classes: int = 2, *, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, stride=4, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(image).mean(dim=(2, 3)))
        return logits


def tiny(classes: int = 2, *, width: int = 8) -> Tiny:
    """Build the network; descriptions name this factory."""
    return Tiny(classes, width=width)


def state_of(seed: int = 1, **arguments: int) -> State:
    """Make weights that no constructor makes."""
    torch.manual_seed(seed)
    state = tiny(**arguments).state_dict()
    return {key: value + torch.rand_like(value) if value.is_floating_point() else value for key, value in state.items()}


class Stage(enum.Enum):
    """A class of the user's own."""

    TRAIN = 1


class Config:
    """Like omegaconf's DictConfig: attributes with nodes below them."""

    def __init__(self, **content: object) -> None:
        self._content = {key: Node(value, self) for key, value in content.items()}


class Node:
    def __init__(self, value: object, parent: object) -> None:
        self._val, self._parent = value, parent


class AttributeDict(dict[str, object]):
    """Like Lightning's: a dict with another name."""


class History(list[float]):
    """A list with another name."""


def renamed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def plain(state: State) -> object:
    return OrderedDict(state)


def lightning(state: State) -> object:
    beside = {"criterion.pos_weight": torch.ones(1)}
    return LIGHTNING | {
        "state_dict": OrderedDict(renamed(state, "model.") | beside),
        "hyper_parameters": {"learning_rate": 1e-3, "width": 8},
    }


def namespace(state: State) -> object:
    settings = argparse.Namespace(width=8, lr=1e-3, root=pathlib.PurePosixPath("/data"))
    return LIGHTNING | {"state_dict": renamed(state, "model."), "hyper_parameters": settings}


def omegaconf(state: State) -> object:
    return LIGHTNING | {"state_dict": renamed(state, "net."), "hyper_parameters": Config(width=8, stage=Stage.TRAIN)}


def numpy_scalars(state: State) -> object:
    best = {"accuracy": np.float64(0.75), "epoch": np.int64(4), "matrix": np.eye(2), "when": deque([1.0, 2.0])}
    settings = AttributeDict(width=8, root=pathlib.PurePosixPath("/data"), best=best, log=History([0.5]))
    return LIGHTNING | {"state_dict": renamed(state, "model."), "hyper_parameters": settings}


def callbacks(state: State) -> object:
    network = tiny()
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 3, 16, 16)).sum().backward()
    optimizer.step()
    kept = {"best_model_path": pathlib.PurePosixPath("/runs/1"), "best_k_models": defaultdict(list, {"a": [1.0]})}
    return LIGHTNING | {
        "state_dict": renamed(state, "model."),
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": kept},
        "optimizer_states": [optimizer.state_dict()],
    }


def averaged(state: State) -> object:
    average = torch.optim.swa_utils.AveragedModel(tiny())
    average.load_state_dict({"n_averaged": torch.tensor(5), **renamed(state, "module.")})
    return {"epoch": 3, "model_ema": average.state_dict(), "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}


def data_parallel(state: State) -> object:
    network = nn.DataParallel(tiny())
    network.module.load_state_dict(state)
    return network.state_dict()


def compiled(state: State) -> object:
    inside = {key.replace("features.", "features._orig_mod."): value for key, value in state.items()}
    return {"model": renamed(inside, "_orig_mod."), "scaler": None}


KINDS: dict[str, Callable[[State], object]] = {
    "plain.pt": plain,
    "lightning.ckpt": lightning,
    "namespace.ckpt": namespace,
    "omegaconf.ckpt": omegaconf,
    "numpy.ckpt": numpy_scalars,
    "callbacks.ckpt": callbacks,
    "averaged.pth": averaged,
    "data_parallel.pt": data_parallel,
    "compiled.pt": compiled,
}


# ------------------------------------------------------------------------------------------------------------ malicious


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._function, self._arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._function, self._arguments


class Slot:
    """Unpickled, it calls a function through the state of an allowed object."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __reduce__(self) -> tuple[object, ...]:
        return OrderedDict, (), {"__reduce_ex__": self._inner}


def attacks(marker: Path) -> dict[str, object]:
    """Make objects that create the file `marker` when they are unpickled, in different ways."""
    touch = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "os.mkdir": Call(os.mkdir, str(marker)),
        "builtins.exec": Call(exec, touch),
        "builtins.eval": Call(eval, touch),
        "nested": Call(getattr, Call(__import__, "os"), "system"),
        "pathlib": Call(Path.touch, marker),
        "state of an allowed object": Slot(Call(exec, touch)),
        "torch's own loader": Call(torch.hub._get_torch_home),
        "pickle.loads": Call(pickle.loads, pickle.dumps(Call(exec, touch))),
    }


def save_tar(path: Path, content: object) -> None:
    """Save in torch's format from before 0.1.10, as far as a reader looks before it unpickles."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            data = pickle.dumps(content, protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def save_zip(path: Path, content: object) -> None:
    torch.save(content, path)


def save_legacy(path: Path, content: object) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


FORMATS: dict[str, Callable[[Path, Any], None]] = {"zip": save_zip, "legacy": save_legacy, "tar": save_tar}


if __name__ == "__main__":
    for _name, _make in KINDS.items():
        torch.save(_make(state_of()), Path(sys.argv[1]) / _name)

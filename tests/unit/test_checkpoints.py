"""Checkpoint files -> a filled network, or one sentence; nothing but tensors is ever unpickled."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.checkpoints import load_weights

State = dict[str, torch.Tensor]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def state(seed: int = 1) -> State:
    torch.manual_seed(seed)
    return {key: v + torch.randn_like(v) if v.is_floating_point() else v for key, v in network().state_dict().items()}


def lightning(path: Path, weights: State) -> None:
    beside = {"criterion.pos_weight": torch.ones(1)}
    torch.save(
        {
            "state_dict": {f"model.{key}": value for key, value in weights.items()} | beside,
            "hyper_parameters": {"learning_rate": 1e-3, "name": "resnet"},
            "pytorch-lightning_version": "2.6.0",
            "epoch": 3,
            "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-3}]}],
        },
        path,
    )


def plain(path: Path, weights: State) -> None:
    torch.save(weights, path)


def tensors(path: Path, weights: State) -> None:
    safetensors.torch.save_file(weights, path)


@pytest.mark.parametrize(
    ("name", "save"), [("a.safetensors", tensors), ("a.pt", plain), ("a.pth", plain), ("a.ckpt", lightning)]
)
def test_every_kind_fills_the_network(tmp_path: Path, name: str, save: Callable[[Path, State], None]) -> None:
    path = tmp_path / name
    weights = state()
    save(path, weights)
    filled = network()
    digest = load_weights(filled, path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    for key, value in filled.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_a_checkpoint_from_before_batch_counting_is_complete(tmp_path: Path) -> None:
    weights = {key: value for key, value in state().items() if not key.endswith("num_batches_tracked")}
    plain(tmp_path / "old.pt", weights)
    filled = network()
    load_weights(filled, tmp_path / "old.pt")
    assert torch.equal(filled.state_dict()["3.weight"], weights["3.weight"])


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, suffix: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / f"bomb{suffix}"
    torch.save({"state_dict": state(), "hyper_parameters": Bomb(marker)}, path)
    with pytest.raises(ModelFileError, match=r"^weights: bomb\.\w+ is not a plain checkpoint of tensors"):
        load_weights(network(), path)
    assert not marker.exists()


def renamed(weights: State) -> State:
    return {key.replace("3.", "head."): value for key, value in weights.items()}


def reshaped(weights: State) -> State:
    return weights | {"3.weight": torch.zeros(5, 4)}


def emptied(_weights: State) -> State:
    return {}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (renamed, "missing 3.weight, 3.bias; unexpected head.weight, head.bias"),
        (reshaped, "3.weight is (5, 4), not (2, 4)"),
        (emptied, "missing 0.weight, 0.bias, 1.weight and 5 more"),
    ],
)
def test_a_misfit_is_one_sentence(tmp_path: Path, change: Callable[[State], State], difference: str) -> None:
    plain(tmp_path / "a.pt", change(state()))
    with pytest.raises(ModelFileError) as caught:
        load_weights(network(), tmp_path / "a.pt")
    assert str(caught.value) == f"weights: a.pt does not fit the architecture: {difference}"


def test_a_misfit_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    plain(tmp_path / "a.pt", reshaped(state()))
    untouched = network()
    before = {key: value.clone() for key, value in untouched.state_dict().items()}
    with pytest.raises(ModelFileError):
        load_weights(untouched, tmp_path / "a.pt")
    assert all(torch.equal(value, before[key]) for key, value in untouched.state_dict().items())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.h5", b"", "weights: a.h5 is none of .safetensors, .pt, .pth, .ckpt, seed:N"),
        ("a.safetensors", b"not at all", "weights: a.safetensors is not a safetensors file"),
        ("a.pt", b"", "weights: a.pt is not a checkpoint that torch can read"),
        ("a.pt", b"PK\x03\x04 cut short", "weights: a.pt is not a checkpoint that torch can read"),
        ("a.pt", None, "weights: a.pt: no such file beside the model description"),
    ],
)
def test_an_unusable_file_is_one_sentence(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        load_weights(network(), tmp_path / name)
    assert str(caught.value) == message


def test_a_file_of_something_else_holds_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match=r"^weights: a\.pt holds no state dict"):
        load_weights(network(), tmp_path / "a.pt")

"""Checkpoint files fill a network or fail in one sentence; only tensors are unpickled."""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.loading.checkpoints import Checkpoint, load_weights, read_checkpoint
from heatlens_torch.loading.pickle_scan import uses_of
from tests.support import checkpoints
from tests.support.checkpoints import FORMATS, KINDS, AttributeDict, Config, State, attacks, renamed, state_of, tiny


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def state(seed: int = 1) -> State:
    torch.manual_seed(seed)
    return {key: v + torch.randn_like(v) if v.is_floating_point() else v for key, v in network().state_dict().items()}


def fill(into: nn.Module, path: Path, **options: Any) -> Checkpoint:  # noqa: ANN401 - entry and prefix
    prefix = options.pop("prefix", None)
    checkpoint = read_checkpoint(path, **options)
    load_weights(into, checkpoint, name=path.name, prefix=prefix)
    return checkpoint


def refusal(into: nn.Module, path: Path, **options: Any) -> str:  # noqa: ANN401 - entry and prefix
    with pytest.raises(ModelFileError) as caught:
        fill(into, path, **options)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------------- every kind


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fills_the_network(tmp_path: Path, kind: str, form: str) -> None:
    path, weights = tmp_path / kind, state_of()
    FORMATS[form](path, KINDS[kind](weights))

    filled = tiny()
    found = fill(filled, path)

    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for key, value in filled.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_safetensors_fill_the_network(tmp_path: Path) -> None:
    weights = state_of()
    safetensors.torch.save_file(weights, tmp_path / "a.safetensors")

    filled = tiny()
    fill(filled, tmp_path / "a.safetensors")

    assert torch.equal(filled.state_dict()["head.weight"], weights["head.weight"])


@pytest.mark.parametrize(
    ("kind", "dropped"),
    [
        ("plain.pt", set()),
        ("lightning.ckpt", set()),
        ("namespace.ckpt", {"argparse.Namespace", "pathlib.PurePosixPath"}),
        (
            "omegaconf.ckpt",
            {"tests.support.checkpoints.Config", "tests.support.checkpoints.Node", "tests.support.checkpoints.Stage"},
        ),
        (
            "numpy.ckpt",
            {
                "collections.deque",
                "numpy._core.multiarray._reconstruct",
                "numpy._core.multiarray.scalar",
                "numpy.dtype",
                "numpy.ndarray",
                "pathlib.PurePosixPath",
                "tests.support.checkpoints.AttributeDict",
                "tests.support.checkpoints.History",
            },
        ),
        ("callbacks.ckpt", {"builtins.list", "collections.defaultdict", "pathlib.PurePosixPath"}),
        ("averaged.pth", set()),
    ],
)
def test_globals_that_were_not_called_are_listed(tmp_path: Path, kind: str, dropped: set[str]) -> None:
    torch.save(KINDS[kind](state_of()), tmp_path / kind)

    assert set(read_checkpoint(tmp_path / kind).dropped) == dropped


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("lightning.ckpt", {"learning_rate": 1e-3, "width": 8}),
        ("namespace.ckpt", {"lr": 1e-3, "width": 8}),
        ("numpy.ckpt", {"width": 8, "log": [0.5]}),
        ("plain.pt", {}),
    ],
)
def test_reads_plain_hyper_parameters(tmp_path: Path, kind: str, known: dict[str, object]) -> None:
    torch.save(KINDS[kind](state_of()), tmp_path / kind)

    assert read_checkpoint(tmp_path / kind).hyper_parameters == known


def test_accepts_a_checkpoint_without_batch_counts(tmp_path: Path) -> None:
    weights = {key: value for key, value in state().items() if not key.endswith("num_batches_tracked")}
    torch.save(weights, tmp_path / "old.pt")

    filled = network()
    fill(filled, tmp_path / "old.pt")

    assert torch.equal(filled.state_dict()["3.weight"], weights["3.weight"])


# ------------------------------------------------------------------------------------------------------- one of several


def both(path: Path) -> Path:
    torch.save({"state_dict": state_of(1), "state_dict_ema": state_of(2), "epoch": 1}, path)
    return path


def test_rejects_several_state_dicts_without_weights_entry(tmp_path: Path) -> None:
    assert refusal(tiny(), both(tmp_path / "a.pt")) == (
        "weights: a.pt holds several state dicts (state_dict, state_dict_ema): choose one, such as --set "
        "weights_entry=state_dict_ema (in model.toml weights_entry)"
    )


def test_reads_the_state_dict_that_weights_entry_names(tmp_path: Path) -> None:
    filled = tiny()
    found = fill(filled, both(tmp_path / "a.pt"), entry="state_dict_ema")

    assert found.entry == "state_dict_ema"
    assert torch.equal(filled.head.weight, state_of(2)["head.weight"])


def test_rejects_a_weights_entry_that_is_missing(tmp_path: Path) -> None:
    assert refusal(tiny(), both(tmp_path / "a.pt"), entry="ema") == (
        "weights_entry: a.pt has no state dict under 'ema': it has state_dict, state_dict_ema"
    )


def teachers(path: Path) -> Path:
    torch.save({"state_dict": renamed(state_of(1), "student.") | renamed(state_of(2), "teacher.")}, path)
    return path


def test_rejects_several_prefixes_without_weights_prefix(tmp_path: Path) -> None:
    assert refusal(tiny(), teachers(tmp_path / "a.pt")) == (
        "weights: a.pt holds the network several times (student., teacher.): choose one, such as --set "
        "weights_prefix=teacher. (in model.toml weights_prefix)"
    )


def test_reads_the_network_that_weights_prefix_names(tmp_path: Path) -> None:
    filled = tiny()
    fill(filled, teachers(tmp_path / "a.pt"), prefix="teacher.")

    assert torch.equal(filled.head.weight, state_of(2)["head.weight"])


def test_reads_lightnings_state_dict_without_weights_entry(tmp_path: Path) -> None:
    averaging = {"current_model_state": renamed(state_of(2), "model.")}
    torch.save(checkpoints.LIGHTNING | {"state_dict": renamed(state_of(1), "model.")} | averaging, tmp_path / "a.ckpt")

    filled = tiny()
    fill(filled, tmp_path / "a.ckpt")

    assert torch.equal(filled.head.weight, state_of(1)["head.weight"])


# ------------------------------------------------------------------------------------------------------- nothing is run


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def attack_names() -> list[str]:
    return list(attacks(Path("ran")))


@pytest.mark.parametrize("form", ["zip", "legacy", "tar"])
@pytest.mark.parametrize("where", ["alone", "hyper_parameters", "state_dict"])
@pytest.mark.parametrize("attack", attack_names())
def test_a_malicious_checkpoint_runs_no_code(tmp_path: Path, marker: Path, attack: str, where: str, form: str) -> None:
    hostile = attacks(marker)[attack]
    good = renamed(state_of(), "model.")
    content: dict[str, object] = {
        "alone": hostile,
        "hyper_parameters": checkpoints.LIGHTNING | {"state_dict": good, "hyper_parameters": {"a": hostile}},
        "state_dict": checkpoints.LIGHTNING | {"state_dict": good | {"model.b": hostile}},
    }
    path = tmp_path / "a.ckpt"
    FORMATS[form](path, content[where])

    try:
        fill(tiny(), path)
    except ModelFileError:
        refused = True
    else:
        refused = False

    assert not marker.exists()
    if where != "hyper_parameters" or form == "tar":
        assert refused


@pytest.mark.parametrize("attack", ["os.mkdir", "builtins.exec", "builtins.eval", "pathlib", "pickle.loads"])
def test_the_malicious_pickles_run_code_when_unpickled(marker: Path, attack: str) -> None:
    """Otherwise that nothing ran would prove nothing."""
    pickle.loads(pickle.dumps(attacks(marker)[attack]))

    assert marker.exists()


def test_lists_a_pickles_globals_without_running_it(tmp_path: Path, marker: Path) -> None:
    torch.save({"a": attacks(marker)["builtins.exec"], "b": torch.zeros(1)}, tmp_path / "a.pt")

    assert {"builtins.exec", "torch._utils._rebuild_tensor_v2"} <= uses_of(tmp_path / "a.pt").named
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (Config(a=1), "tests.support.checkpoints.Config"),
        (AttributeDict(a=1), "tests.support.checkpoints.AttributeDict"),
        ({"deep": [Config(a=1)]}, "tests.support.checkpoints.Config"),
        (nn.ReLU, "torch.nn.modules.activation.ReLU"),
    ],
)
def test_rejects_an_unknown_object_in_the_state_dict(tmp_path: Path, value: object, origin: str) -> None:
    torch.save({"state_dict": state_of() | {"metric": value}}, tmp_path / "a.ckpt")

    assert refusal(tiny(), tmp_path / "a.ckpt") == (
        f"weights: a.ckpt: state_dict: metric is a {origin} instead of a tensor and is not read, because it could run "
        "code: where it was made, torch.save(model.state_dict(), 'weights.pt'), and name that file"
    )


def test_drops_plain_values_among_the_tensors(tmp_path: Path) -> None:
    torch.save(state_of() | {"version": 3}, tmp_path / "a.pt")

    fill(tiny(), tmp_path / "a.pt")


@pytest.mark.parametrize("key", [None, "model"])
def test_rejects_a_pickled_module(tmp_path: Path, key: str | None) -> None:
    whole = tiny()
    torch.save(whole if key is None else {key: whole, "epoch": 3}, tmp_path / "a.pt")

    where = "a.pt" if key is None else "its entry 'model'"
    assert refusal(tiny(), tmp_path / "a.pt") == (
        f"weights: {where} is a whole pickled module (tests.support.checkpoints.Tiny), which is code as well as "
        "weights: where it was made, torch.save(model.state_dict(), 'weights.pt'), and name that file"
    )


def test_drops_a_pickled_criterion_next_to_the_weights(tmp_path: Path) -> None:
    settings = {"criterion": nn.CrossEntropyLoss(), "width": 8}
    torch.save({"state_dict": state_of(), "hyper_parameters": settings, "loss": nn.MSELoss()}, tmp_path / "a.ckpt")

    found = fill(tiny(), tmp_path / "a.ckpt")

    assert found.hyper_parameters == {"width": 8}
    assert {"torch.nn.modules.loss.CrossEntropyLoss", "torch.nn.modules.loss.MSELoss"} <= set(found.dropped)


def test_rejects_torchscript_and_says_what_to_do(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(tiny().eval(), torch.zeros(1, 3, 16, 16))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, tmp_path / "a.pt")

    assert refusal(tiny(), tmp_path / "a.pt") == (
        "weights: a.pt is TorchScript, whose program would run while it is read: get its weights where it was made, "
        "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt'), and name the architecture"
    )


# -------------------------------------------------------------------------------------------------------------- misfits


def without_head(weights: State) -> State:
    return {key.replace("3.", "head."): value for key, value in weights.items()}


def reshaped(weights: State) -> State:
    return weights | {"3.weight": torch.zeros(5, 4)}


def emptied(_weights: State) -> State:
    return {}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (without_head, "missing 3.weight, 3.bias; unexpected head.weight, head.bias"),
        (reshaped, "3.weight is (5, 4), not (2, 4)"),
        (emptied, "missing 0.weight, 0.bias, 1.weight and 5 more"),
    ],
)
def test_mismatched_weights_are_reported_in_one_sentence(
    tmp_path: Path, change: Callable[[State], State], difference: str
) -> None:
    torch.save(change(state()), tmp_path / "a.pt")

    assert refusal(network(), tmp_path / "a.pt") == f"weights: a.pt does not fit the architecture: {difference}"


def test_a_mismatch_under_a_prefix_names_the_prefix(tmp_path: Path) -> None:
    torch.save(renamed(without_head(state()), "model."), tmp_path / "a.pt")

    assert refusal(network(), tmp_path / "a.pt") == (
        "weights: a.pt does not fit the architecture under the prefix 'model.': "
        "missing 3.weight, 3.bias; unexpected head.weight, head.bias"
    )


def test_mismatched_weights_leave_the_network_unchanged(tmp_path: Path) -> None:
    torch.save(reshaped(state()), tmp_path / "a.pt")
    untouched = network()
    before = {key: value.clone() for key, value in untouched.state_dict().items()}

    refusal(untouched, tmp_path / "a.pt")

    assert all(torch.equal(value, before[key]) for key, value in untouched.state_dict().items())


def test_rejects_a_file_with_another_digest(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pt")
    digest = hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest()

    fill(network(), tmp_path / "a.pt", sha256=digest.upper())
    assert refusal(network(), tmp_path / "a.pt", sha256="0" * 64) == (
        f"sha256: a.pt has {digest}, so it is not the file that was meant"
    )


KERAS = (
    "weights: a.pt is a model of Keras, which is not run: python -m tf2onnx.convert --keras {folder}/a.pt --output "
    "m.onnx, and compile m.onnx"
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.pt",
            b"\x89HDF\r\n\x1a\n",
            KERAS,
        ),
        ("a.safetensors", b"not at all", "weights: a.safetensors is not a safetensors file"),
        ("a.pt", b"", "weights: a.pt is not a checkpoint that torch can read"),
        ("a.pt", b"PK\x03\x04 cut short", "weights: a.pt is not a checkpoint that torch can read"),
        ("a.pt", b"\x80\x02R.", "weights: a.pt is not a checkpoint that torch can read"),
        ("a.pt", None, "weights: a.pt: no such file beside the model description"),
    ],
)
def test_an_unusable_file_is_reported_in_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    assert refusal(network(), tmp_path / name) == message.format(folder=tmp_path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, torch.zeros(1)])
def test_rejects_a_file_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")

    assert refusal(network(), tmp_path / "a.pt") == "weights: a.pt holds no state dict (names to tensors)"

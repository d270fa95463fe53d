"""Every source of a network gives the network with its weights, or fails in one sentence."""

import contextlib
import dataclasses
import hashlib
import io
import json
import pickle
import re
import warnings
import zipfile
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms._presets import ImageClassification

from heatlens.card import Card, read_card
from heatlens.errors import CardError, ModelError
from heatlens_torch.compile import compile_model
from heatlens_torch.inspection import inspect_model
from heatlens_torch.loading import synthetic, torchvision_weights, zoo
from heatlens_torch.loading.built_network import BuiltNetwork
from heatlens_torch.loading.network import build_network
from heatlens_torch.loading.saved_network import WEIGHTS_FILE, load_network
from heatlens_torch.loading.spec import read_spec
from tests.support.checkpoints import KINDS, LIGHTNING, Tiny, attacks, renamed, state_of, tiny

PIXELS = 48
FACTORY = "tests.support.checkpoints:tiny"
PREPROCESS = {"resize": [PIXELS, PIXELS], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def describe(folder: Path, **fields: Any) -> Path:  # noqa: ANN401 - TOML values
    """A description of the tiny network; `None` leaves a key out."""
    keys: dict[str, Any] = {"name": "test", "version": "1", "architecture": FACTORY, "classes": ["a", "b"]}
    keys |= {"output": "softmax", "layer": "features", "preprocess": PREPROCESS} | fields
    tables = {key: value for key, value in keys.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None and key not in tables]
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path = folder / "model.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def made(path: Path) -> BuiltNetwork:
    return build_network(read_spec(path), path.parent)


def refusal(path: Path, *, with_torch: bool = False) -> str:
    with pytest.raises(ModelError) as caught:
        compile_model(path, path.parent / "out", with_torch=with_torch)
    assert not (path.parent / "out").exists()
    return str(caught.value)


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(4)) * 4 - 2


@torch.no_grad()
def answers(network: nn.Module) -> torch.Tensor:
    logits: torch.Tensor = network(images())
    return logits


def trained(classes: int = 2) -> nn.Module:
    """A tiny network whose maps are worth comparing."""
    torch.manual_seed(0)
    network = tiny(classes).eval()
    synthetic.settle(network, list(images(16).chunk(2)))
    return network


# --------------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("kind", ["namespace.ckpt", "averaged.pth"])
def test_a_checkpoint_of_any_kind_compiles_and_the_card_says_what_was_dropped(tmp_path: Path, kind: str) -> None:
    network = trained()
    torch.save(KINDS[kind](network.state_dict()), tmp_path / kind)

    card = compile_model(describe(tmp_path, weights=kind), tmp_path / "out")

    source = {
        "architecture": FACTORY,
        "weights": kind,
        "weights_sha256": hashlib.sha256((tmp_path / kind).read_bytes()).hexdigest(),
    }
    entries = {
        "namespace.ckpt": {
            "weights_entry": "state_dict",
            "weights_prefix": "model.",
            "dropped": "argparse.Namespace, pathlib.PurePosixPath",
        },
        "averaged.pth": {"weights_entry": "model_ema", "weights_prefix": "module."},
    }
    assert card.source == source | entries[kind]
    assert read_card(tmp_path / "out")[0] == card


def wide(path: Path, **more: object) -> None:
    checkpoint = {"state_dict": renamed(state_of(width=12), "model."), "hyper_parameters": {"width": 12, "lr": 0.1}}
    torch.save(LIGHTNING | checkpoint | more, path)


def test_the_factorys_arguments_may_be_the_checkpoints_hyper_parameters(tmp_path: Path) -> None:
    wide(tmp_path / "a.ckpt")

    found = made(describe(tmp_path, weights="a.ckpt", arguments="hyper_parameters"))

    assert found.arguments == {"width": 12}
    assert torch.equal(found.network.get_parameter("head.weight"), state_of(width=12)["head.weight"])


def test_a_mismatch_mentions_the_checkpoints_hyper_parameters(tmp_path: Path) -> None:
    wide(tmp_path / "a.ckpt")

    assert refusal(describe(tmp_path, weights="a.ckpt")) == (
        "model.toml:7: weights: a.ckpt does not fit the architecture under the prefix 'model.': "
        "features.0.weight is (12, 3, 3, 3), not (8, 3, 3, 3), features.0.bias is (12,), not (8,), "
        "features.1.weight is (12,), not (8,) and 4 more (the checkpoint has hyper-parameters, lr = 0.1, width = 12: "
        'arguments = "hyper_parameters" takes those that the factory has)'
    )


def test_rejects_hyper_parameters_that_the_checkpoint_lacks(tmp_path: Path) -> None:
    torch.save(state_of(), tmp_path / "a.pt")

    assert refusal(describe(tmp_path, weights="a.pt", arguments="hyper_parameters")) == (
        "model.toml:8: arguments: a.pt has no hyper_parameters with plain values"
    )


def test_rejects_weights_with_another_digest(tmp_path: Path) -> None:
    torch.save(state_of(), tmp_path / "a.pt")
    digest = hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest()

    made(describe(tmp_path, weights="a.pt", sha256=digest))
    assert refusal(describe(tmp_path, weights="a.pt", sha256="0" * 64)) == (
        f"model.toml:8: sha256: a.pt has {digest}, so it is not the file that was meant"
    )


def test_a_hostile_checkpoint_compiles_to_nothing_and_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"state_dict": state_of() | {"a": attacks(marker)["builtins.exec"]}}, tmp_path / "a.ckpt")

    assert refusal(describe(tmp_path, weights="a.ckpt")).startswith(
        "model.toml:7: weights: a.ckpt: state_dict: a is a builtins.exec instead of a tensor"
    )
    assert not marker.exists()


# --------------------------------------------------------------------------------------------------------- torchvision


CATEGORIES = [f"class {index}" for index in range(10)]


@dataclasses.dataclass(frozen=True)
class Published:
    """A network, its file on a server, and where torch keeps a copy."""

    network: nn.Module
    file: Path
    digest: str
    cached: Path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """An enumeration like torchvision's for MobileNetV3, whose file lies on a server that is a folder."""
    server = tmp_path / "server"
    server.mkdir()
    torch.manual_seed(1)
    network = torchvision.models.mobilenet_v3_small(num_classes=10).eval()
    synthetic.settle(network, list(images(8).chunk(2)))
    torch.save(network.state_dict(), server / "draft")
    digest = hashlib.sha256((server / "draft").read_bytes()).hexdigest()
    file = (server / "draft").rename(server / f"mobilenet-{digest[:8]}.pth")

    class Own(torchvision.models.WeightsEnum):  # type: ignore[misc]  # untyped
        V1 = torchvision.models.Weights(
            url=file.as_uri(),
            transforms=lambda: ImageClassification(crop_size=PIXELS, resize_size=PIXELS + 8),
            meta={"categories": CATEGORIES},
        )
        DEFAULT = V1

    def build(**options: Any) -> nn.Module:  # noqa: ANN401 - as torchvision's builders
        weights = options.pop("weights")
        built: nn.Module = torchvision.models.mobilenet_v3_small(num_classes=10, **options)
        if weights is not None:
            built.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))
        return built

    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _network: Own)
    monkeypatch.setattr(torchvision.models, "get_model", lambda _network, **options: build(**options))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return Published(network, file, digest, cached=tmp_path / "cache" / "hub" / "checkpoints" / file.name)


def own_weights(folder: Path, **fields: Any) -> Path:  # noqa: ANN401 - TOML values
    own = {"architecture": "torchvision:mobilenet_v3_small", "weights": "DEFAULT"}
    return describe(folder, **(own | dict.fromkeys(("classes", "output", "preprocess", "layer")) | fields))


def test_torchvisions_weights_are_fetched_and_complete_the_description(tmp_path: Path, published: Published) -> None:
    spec = read_spec(own_weights(tmp_path))
    found = build_network(spec, tmp_path)

    assert (spec.classes, spec.output, spec.preprocess.shape) == (tuple(CATEGORIES), "softmax", (PIXELS, PIXELS))
    assert found.source == {
        "architecture": "torchvision:mobilenet_v3_small",
        "weights": "V1",
        "weights_sha256": published.digest,
    }
    assert torch.equal(answers(found.network), answers(published.network))
    assert not found.network.training


def test_a_cached_file_needs_no_network(tmp_path: Path, published: Published) -> None:
    made(own_weights(tmp_path))
    published.file.unlink()

    assert torch.equal(answers(made(own_weights(tmp_path)).network), answers(published.network))


@pytest.mark.parametrize("error", [URLError("no route"), TimeoutError()])
def test_without_a_network_the_error_says_what_to_do(
    tmp_path: Path,
    published: Published,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)

    assert refusal(own_weights(tmp_path)) == (
        "model.toml:4: weights: V1 of torchvision:mobilenet_v3_small cannot be downloaded (is there a network?): fetch "
        f"{published.file.name} elsewhere and name it as weights, with classes and preprocess"
    )


def test_a_damaged_download_is_refused(tmp_path: Path, published: Published) -> None:
    published.file.write_bytes(b"half of it")

    assert refusal(own_weights(tmp_path)) == (
        f"model.toml:4: weights: {published.file.name} arrived damaged: its digest is not the published one"
    )
    assert not published.cached.exists()


def test_an_altered_cache_is_refused(tmp_path: Path, published: Published) -> None:
    made(own_weights(tmp_path))
    published.cached.write_bytes(b"something else")

    assert refusal(own_weights(tmp_path)) == (
        f"model.toml:4: weights: {published.file.name} in torch's cache is not what torchvision published: remove it"
    )


def test_the_file_in_the_cache_is_read_without_running_it(
    tmp_path: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight digits of a digest can be forged."""
    marker = tmp_path / "ran"
    published.cached.parent.mkdir(parents=True)
    torch.save(attacks(marker)["builtins.exec"], published.cached)
    monkeypatch.setattr(torchvision_weights, "digest_of", lambda _path: published.digest)

    refusal(own_weights(tmp_path))
    assert not marker.exists()


def test_a_network_that_torchvision_changes_with_its_weights_is_stored_as_it_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inception's input is transformed where torchvision's own weights are loaded."""
    network = zoo.build("torchvision:googlenet", {"transform_input": True, "aux_logits": False, "init_weights": False})
    monkeypatch.setattr(zoo, "build", lambda *_args: network)
    (tmp_path / "file.pth").write_bytes(b"")
    fetched = (SimpleNamespace(name="V1"), tmp_path / "file.pth")
    monkeypatch.setattr(torchvision_weights, "fetch", lambda *_args: fetched)
    path = own_weights(tmp_path, architecture="torchvision:googlenet", preprocess=PREPROCESS)

    assert made(path).arguments == {"transform_input": True, "aux_logits": False}


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_torchvisions_own_weights_make_the_network_that_torchvision_makes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These two take another input with them than without."""
    torch.manual_seed(0)
    bare = torchvision.models.get_model(name, weights=None, init_weights=False)
    state = bare.state_dict()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_args, **_options: state)
    monkeypatch.setattr(torchvision_weights, "fetch", lambda *given: (torchvision_weights.find(*given), tmp_path / "f"))
    (tmp_path / "f").write_bytes(b"")

    found = made(own_weights(tmp_path, architecture=f"torchvision:{name}"))

    theirs = torchvision.models.get_model(name, weights="DEFAULT").eval()
    batch = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(found.network(batch), theirs(batch))
        assert not torch.equal(theirs(batch), bare.eval()(batch))
    assert found.arguments["transform_input"] is True


# ------------------------------------------------------------------------------------------------------- torch.export


def exported(path: Path, network: nn.Module, *, static: bool = False) -> Path:
    shapes = None if static else ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(network, (images(5),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def program_of(folder: Path, **fields: Any) -> Path:  # noqa: ANN401 - TOML values
    return describe(folder, architecture="torch.export:a.pt2", **fields)


def test_an_exported_program_compiles_under_its_own_layer_names(tmp_path: Path) -> None:
    network = trained()
    exported(tmp_path / "a.pt2", network)

    assert torch.equal(answers(made(program_of(tmp_path)).network), answers(network))
    card = compile_model(program_of(tmp_path), tmp_path / "out")

    assert card.source["weights_sha256"] == hashlib.sha256((tmp_path / "a.pt2").read_bytes()).hexdigest()
    assert [layer.name for layer in card.layers] == ["features"]


def test_a_program_with_a_fixed_batch_is_refused_with_the_line_to_use(tmp_path: Path) -> None:
    exported(tmp_path / "a.pt2", trained(), static=True)

    assert refusal(program_of(tmp_path)) == (
        "model.toml:3: architecture: a.pt2 was exported for a batch of 5 alone: export it again with "
        "torch.export.export(model.eval(), (image,), dynamic_shapes=({0: torch.export.Dim.AUTO},))"
    )


def test_the_export_line_of_the_error_works(tmp_path: Path) -> None:
    exported(tmp_path / "a.pt2", trained(), static=True)
    line = refusal(program_of(tmp_path)).partition("export it again with ")[2]
    program = eval(line, {"torch": torch, "model": trained(), "image": images(5)})
    torch.export.save(program, tmp_path / "a.pt2")

    assert answers(made(program_of(tmp_path)).network).shape == (3, 2)


def rewritten(path: Path, change: dict[str, bytes]) -> None:
    """The archive with members added or replaced."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(members)).partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | {f"{root}/{key}": value for key, value in change.items()}).items():
            archive.writestr(name, data)


def in_model(path: Path, before: str, after: str) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        text = next(archive.read(name) for name in archive.namelist() if name.endswith("models/model.json")).decode()
    assert before in text
    return {"models/model.json": text.replace(before, after).encode()}


def torch_saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("place", ["library", "object", "opaque", "expression", "inputs", "weights", "constants"])
def test_a_hostile_program_runs_nothing(tmp_path: Path, place: str) -> None:
    marker = tmp_path / "ran"
    path = exported(tmp_path / "a.pt2", trained())
    hostile = attacks(marker)["builtins.exec"]
    call = f"[exec(chr(0)+str({str(marker)!r}))]"
    changes = {
        "library": lambda: {"data/aotinductor/model/model.so": b"\x7fELF"},
        "object": lambda: {"data/constants/custom_obj_0": pickle.dumps(hostile)},
        "opaque": lambda: {"data/constants/opaque_obj_0": pickle.dumps(hostile)},
        "expression": lambda: in_model(path, '"expr_str": "', f'"expr_str": "{call}'),
        "inputs": lambda: {"data/sample_inputs/model.pt": torch_saved(hostile)},
        "weights": lambda: {"data/weights/model.pt": torch_saved(hostile)},
        "constants": lambda: {"data/constants/model.pt": torch_saved(hostile)},
    }
    rewritten(path, changes[place]())

    sentence = refusal(program_of(tmp_path))

    assert not marker.exists()
    assert sentence.startswith("model.toml:3: architecture: a.pt2 ")
    if place in ("library", "object", "opaque", "expression"):
        assert "holds more than a program and its tensors" in sentence


def test_torchs_reader_alone_would_run_a_hostile_program(tmp_path: Path) -> None:
    """Otherwise that nothing ran would prove nothing."""
    marker = tmp_path / "ran"
    path = exported(tmp_path / "a.pt2", trained())
    rewritten(path, {"data/sample_inputs/model.pt": torch_saved(attacks(marker)["builtins.exec"])})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):  # what it thinks of the rest is its own affair
            torch.export.load(path)

    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "architecture: a.pt2: no such file beside the model description"),
        (b"not a zip", "architecture: a.pt2 is not a .pt2 file of torch.export"),
    ],
)
def test_an_unusable_program_is_reported_in_one_sentence(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.pt2").write_bytes(content)

    assert refusal(program_of(tmp_path)) == f"model.toml:3: {message}"


def test_a_program_is_not_stored_for_torch(tmp_path: Path) -> None:
    exported(tmp_path / "a.pt2", trained())

    assert refusal(program_of(tmp_path), with_torch=True).startswith(
        "model.toml:3: architecture: --with-torch stores weights for an architecture by name"
    )


# ------------------------------------------------------------------------------------------------------------- outputs


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    features: torch.Tensor


Pair = namedtuple("Pair", ["logits", "features"])


class Rich(Tiny):
    """Answers its logits among other things."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def forward(self, image: torch.Tensor) -> Any:  # noqa: ANN401 - that is the point
        logits = super().forward(image)
        features = logits.mean(dim=1, keepdim=True)
        makers = {
            "tuple": (features, logits),
            "list": [features, logits],
            "dict": {"logits": logits, "features": features, "loss": None},
            "dataclass": Answer(logits, features),
            "namedtuple": Pair(logits, features),
            "tensor": logits,
            "nothing": "text",
        }
        return makers[self._kind]


def rich(kind: str) -> nn.Module:
    torch.manual_seed(0)
    network = Rich("tensor").eval()
    synthetic.settle(network, list(images(16).chunk(2)))
    network._kind = kind
    return network


def rich_description(folder: Path, kind: str, **fields: Any) -> Path:  # noqa: ANN401 - TOML values
    torch.save(trained().state_dict(), folder / "a.pt")
    return describe(folder, architecture=f"{__name__}:rich", arguments={"kind": kind}, weights="a.pt", **fields)


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("tuple", 1),
        ("list", 1),
        ("dict", "logits"),
        ("dataclass", "logits"),
        ("namedtuple", "logits"),
        ("namedtuple", 0),
    ],
)
def test_output_entry_selects_the_logits(tmp_path: Path, kind: str, entry: int | str) -> None:
    network = made(rich_description(tmp_path, kind, output_entry=entry)).network

    assert torch.equal(answers(network), answers(trained()))
    assert [name for name, _ in network.named_children()] == ["features", "head"]


def test_a_network_with_several_outputs_compiles(tmp_path: Path) -> None:
    path = rich_description(tmp_path, "dataclass", output_entry="logits")

    card = compile_model(path, tmp_path / "out", with_torch=True)

    assert card.torch is not None
    assert card.torch.output_entry == "logits"
    assert torch.equal(answers(load_network(tmp_path / "out", card)), answers(trained()))


@pytest.mark.parametrize(
    ("kind", "entry", "message"),
    [
        ("dict", None, "missing: the network answers several tensors: 'logits' [2, 2], 'features' [2, 1]"),
        ("dict", "logit", "the network answers no 'logit': it has 'logits' [2, 2], 'features' [2, 1]"),
        ("tuple", 2, "the network answers no 2: it has 0 [2, 1], 1 [2, 2]"),
        ("dataclass", 0, "the network answers no 0: it has 'logits' [2, 2], 'features' [2, 1]"),
        ("tensor", "logits", "the network answers one tensor, there is nothing to choose"),
        ("nothing", None, "the network answers a str, which has no tensors to take"),
    ],
)
def test_rejects_a_wrong_output_entry_and_lists_the_entries(
    tmp_path: Path, kind: str, entry: int | str | None, message: str
) -> None:
    sentence = refusal(rich_description(tmp_path, kind, output_entry=entry))

    assert re.sub(r"^model\.toml(:\d+)?: ", "", sentence) == f"output_entry: {message}"


@pytest.mark.parametrize(("output", "classes"), [("sigmoid", 1), ("multilabel", 3)])
def test_every_kind_of_output_compiles_and_is_counted(tmp_path: Path, output: str, classes: int) -> None:
    torch.save(trained(classes).state_dict(), tmp_path / "a.pt")
    labels = ["a", "b"] if classes == 1 else ["a", "b", "c"]
    fields = {"weights": "a.pt", "arguments": {"classes": classes}, "output": output}

    card = compile_model(describe(tmp_path, classes=labels, **fields), tmp_path / "out")

    assert (card.output, card.logits) == (output, classes)


@pytest.mark.parametrize(
    ("output", "logits", "labels", "message"),
    [
        ("softmax", 2, ["a", "b", "c"], "3 names with output 'softmax' need 3 logits, but the network answers 2"),
        ("multilabel", 2, ["a", "b", "c"], "3 names with output 'multilabel' need 3 logits, but the network answers 2"),
        ("sigmoid", 2, ["a", "b"], "2 names with output 'sigmoid' need 1 logits, but the network answers 2"),
        ("sigmoid", 1, ["a", "b", "c"], "a sigmoid model has exactly two, negative then positive"),
    ],
)
def test_rejects_a_class_count_that_differs_from_the_logits(
    tmp_path: Path, output: str, logits: int, labels: Sequence[str], message: str
) -> None:
    torch.save(trained(logits).state_dict(), tmp_path / "a.pt")
    fields = {"weights": "a.pt", "arguments": {"classes": logits}, "output": output, "classes": labels}

    assert refusal(describe(tmp_path, **fields)) == f"model.toml:4: classes: {message}"


# ---------------------------------------------------------------------------------------------------------- with torch


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("with-torch")
    torch.save(KINDS["lightning.ckpt"](trained().state_dict()), home / "a.ckpt")
    compile_model(describe(home, weights="a.ckpt", arguments={"width": 8}), home / "out", with_torch=True)
    return home / "out"


def test_the_network_is_stored_with_its_architecture(with_torch: Path) -> None:
    card = read_card(with_torch)[0]

    assert card.torch is not None
    assert (card.torch.architecture, card.torch.arguments) == (FACTORY, {"width": 8})
    assert torch.equal(answers(load_network(with_torch, card)), answers(trained()))


def test_stored_weights_are_verified_by_the_card(with_torch: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in with_torch.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / WEIGHTS_FILE).write_bytes(b"others")

    with pytest.raises(CardError, match=r"^weights\.safetensors is not the file its card describes"):
        read_card(folder)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(CardError, match=r"^weights\.safetensors is missing"):
        read_card(folder)


def test_rejects_loading_a_network_that_was_not_stored(with_torch: Path) -> None:
    card: Card = read_card(with_torch)[0].model_copy(update={"torch": None})

    with pytest.raises(CardError, match=r"^test has no weights for PyTorch: compile it again with --with-torch$"):
        load_network(with_torch, card)


class Forgetful(Tiny):
    """Answers by something that is neither an argument nor a weight."""

    count = 0

    def __init__(self) -> None:
        super().__init__()
        Forgetful.count += 1
        self.scale = float(Forgetful.count)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) * self.scale


def test_rejects_storing_a_network_that_cannot_be_rebuilt(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "a.pt")
    path = describe(tmp_path, architecture=f"{__name__}:Forgetful", weights="a.pt")

    assert refusal(path, with_torch=True) == (
        "the network made from its architecture, arguments and weights returns other logits"
    )


# ------------------------------------------------------------------------------------------------------------- inspect


def test_candidate_layers_are_listed_with_their_grids(tmp_path: Path) -> None:
    path = describe(tmp_path, architecture="torchvision:resnet18", weights="seed:0", classes="imagenet", layer=None)

    layers = {layer.name: layer.shape for layer in inspect_model(path).layers}

    assert layers["layer3"] == (256, 3, 3)
    assert list(layers)[-1] == "layer4"
    assert layers["layer4"] == (512, 2, 2)
    assert not {"fc", "avgpool"} & set(layers)


def test_without_layer_the_last_candidate_is_compiled(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "a.pt")
    path = describe(tmp_path, weights="a.pt", layer=None)

    assert compile_model(path, tmp_path / "out").layers[0].name == "features"

"""A model.toml compiles to a proven model folder: small networks for every rule, real architectures for the proof."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget, ClassifierOutputTarget
from torch import fx, nn
from torch.nn import functional

import heatlens_torch.uncompiled
from heatlens.card import Card, read_card
from heatlens.engines.default_map import DefaultMap, explain_by_default
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import CompileError, ModelError, ModelFileError, ParityError
from heatlens.explain.attribution import METHOD_NAMES
from heatlens.explain.cam import signed_map
from heatlens.explain.methods import METHODS
from heatlens.types import Floats
from heatlens_torch.compile import compile_model
from heatlens_torch.errors import INSTEAD
from heatlens_torch.graph.cut import find_cut
from heatlens_torch.graph.marks import take_mark
from heatlens_torch.loading import synthetic, zoo
from heatlens_torch.loading.network import build_network, stack
from heatlens_torch.loading.spec import read_spec
from heatlens_torch.proof import parity, reference
from tests.support.engines import graphs_of, run_tail

THRESHOLD = 1e-4

# ---------------------------------------------------------------------------------------------------- small networks


class Tiny(nn.Module):
    """Three stages and a non-linear head; `bypass` carries the stem past the target layer to the head."""

    def __init__(self, logits: int, *, bypass: bool = False) -> None:
        super().__init__()
        self.stem = stage(3, 8, stride=4)
        self.layer3 = stage(8, 12)
        self.layer4 = stage(12, 16)
        self.bypass = nn.Conv2d(8, 16, 1) if bypass else None
        # Normalized and without a bias, so that the predictions fall on both sides.
        self.head = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, logits, bias=False))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = self.stem(image)
        activation = self.layer4(self.layer3(stem))
        if self.bypass is not None:
            activation = activation * torch.sigmoid(self.bypass(stem))
        pooled = activation.mean(dim=(2, 3))
        logits: torch.Tensor = self.head(pooled.view(image.size(0), -1))
        return logits


class Overwriting(Tiny):
    """Lets an in-place function spoil the output of `layer4`."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        activation = self.layer4(self.layer3(self.stem(image)))
        logits: torch.Tensor = self.head(functional.relu_(activation.sub_(0.5)).mean(dim=(2, 3)))
        return logits


class Twice(Tiny):
    """Runs `layer4` on two sizes."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        middle = self.layer3(self.stem(image))
        logits: torch.Tensor = self.head((self.layer4(middle) + self.layer4(middle * 2)).mean(dim=(2, 3)))
        return logits


def line_of(code: str) -> int:
    """Return the number of the first line of this file that has some code."""
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if code in line)


class Branching(Tiny):
    """Looks at its data in Python, which no exported graph can."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image if image.sum() > 0 else -image)


class Sorting(Tiny):
    """Uses an operator that ONNX does not have after `layer4`."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        activation = self.layer4(self.layer3(self.stem(image)))
        logits: torch.Tensor = self.head(activation.flatten(2).cummax(dim=2).values.mean(dim=2))
        return logits


class Raising(Tiny):
    """Raises in its own code, as an assertion on a size does."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the network's own words")


class Infinite(Tiny):
    """Divides by zero."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) / 0


def stage(channels: int, widened: int, *, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, widened, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(widened), nn.ReLU(inplace=True))


def tiny(logits: int, kind: str = "Tiny", **options: bool) -> nn.Module:
    kinds = (Tiny, Overwriting, Twice, Branching, Sorting, Raising, Infinite)
    return {cls.__name__: cls for cls in kinds}[kind](logits, **options)


def hopeless(logits: int) -> nn.Module:
    """Every class has only evidence against it."""
    head = nn.Linear(4, logits)
    nn.init.constant_(head.weight, -1.0)
    return nn.Sequential(stage(3, 4, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def pictures(count: int) -> list[Image.Image]:
    return synthetic.images(count, size=(50, 40), seed=5)


def no_pictures(count: int) -> list[Image.Image]:
    return pictures(min(count, 8))


def failing(_argument: object) -> object:
    raise KeyError("what the function itself says stays in the cause")


Score = Callable[[list[Image.Image]], tuple[Floats, Floats]]


def judge(score: Score) -> dict[str, object]:
    logits, maps = score(pictures(5))
    kinds = [str(array.dtype) for array in (logits, maps)]
    return {"logits": logits.tolist(), "shape": list(maps.shape), "maps": maps.tolist(), "kinds": kinds}


# ------------------------------------------------------------------------------------------------------- descriptions


@dataclass(frozen=True)
class Description:
    """The fields of a model.toml, in the values' own TOML notation where it differs from JSON's."""

    architecture: str = f"{__name__}:tiny"
    arguments: dict[str, object] = field(default_factory=dict)
    weights: str = "seed:0"
    classes: list[str] | str = "imagenet"
    output: str = "softmax"
    layer: str = "layer4"
    pixels: int = 96
    more: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        fields = {"name": "test", "version": "1", "architecture": self.architecture, "weights": self.weights}
        fields |= {"output": self.output, "layer": self.layer, **self.more}
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        lines.append(f"classes = {json.dumps(self.classes)}")
        lines.append("[arguments]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in self.arguments.items()]
        lines += ["[preprocess]", f"resize = [{self.pixels}, {self.pixels}]"]
        lines += ["mean = [0.485, 0.456, 0.406]", "std = [0.229, 0.224, 0.225]"]
        path = folder / "model.toml"
        path.write_text("\n".join(lines) + "\n")
        return path


BINARY = ["NORMAL", "PNEUMONIA"]
ONE_LOGIT = Description(arguments={"logits": 1}, classes=BINARY, output="sigmoid", pixels=48)
THREE_LOGITS = Description(arguments={"logits": 3}, classes=["a", "b", "c"], pixels=48)
BYPASS = Description(arguments={"logits": 3, "bypass": True}, classes=["a", "b", "c"], output="multilabel", pixels=48)


@dataclass(frozen=True)
class Compiled:
    """A compiled model beside the original network."""

    description: Description
    spec: Path
    folder: Path

    @property
    def card(self) -> Card:
        return read_card(self.folder)[0]

    @property
    def engine(self) -> OpenVinoEngine:
        return OpenVinoEngine(self.folder, *graphs_of(self.folder))

    @property
    def network(self) -> nn.Module:
        return build_network(read_spec(self.spec), self.spec.parent).network

    def images(self, count: int, seed: int = 9) -> Floats:
        """Images that neither the settling nor the proof has seen."""
        pixels = self.description.pixels
        return stack(synthetic.images(count, size=(pixels, pixels), seed=seed), self.card.preprocess)


def compiled(description: Description, home: Path) -> Compiled:
    home.mkdir(parents=True, exist_ok=True)
    path = description.write(home)
    compile_model(path, home / "out")
    return Compiled(description, path, home / "out")


@pytest.fixture(scope="session")
def one_logit(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(ONE_LOGIT, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def three_logits(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(THREE_LOGITS, tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="session")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    description = Description(architecture="torchvision:resnet18", pixels=224)
    return compiled(description, tmp_path_factory.mktemp("resnet18"))


def plain_gradcam(
    network: nn.Module, layer: str, images: Floats, classes: list[int]
) -> tuple[Floats, Floats, Floats, Floats]:
    """The slow reference: pytorch-grad-cam as documented, with the whole backward pass and one image at a time."""
    module = network.get_submodule(layer)
    parts: list[tuple[Floats, ...]] = []
    with GradCAM(model=network, target_layers=[module]) as cam:
        for image, index in zip(torch.from_numpy(images), classes, strict=True):
            single = cam.model(image[None]).shape[1] == 1
            target = BinaryClassifierOutputTarget(index) if single else ClassifierOutputTarget(index)
            heat = cam(input_tensor=image[None], targets=[target])
            (activation,), (gradient,) = cam.activations_and_grads.activations, cam.activations_and_grads.gradients
            weights = gradient.numpy().mean(axis=(2, 3), keepdims=True)
            signed = (weights * activation.numpy()).sum(axis=1)
            parts.append((cam.outputs.detach().numpy(), gradient.numpy(), signed, heat))
    logits, gradients, maps, heats = (np.concatenate(column) for column in zip(*parts, strict=True))
    return logits, gradients, maps, heats


def explain(model: Compiled, images: Floats, selector: Floats) -> tuple[Floats, Floats, Floats]:
    """Logits, gradient and signed map of the compiled graphs, in one batch."""
    engine = model.engine
    crossing = engine.trunk(images)
    logits, gradient = run_tail(engine, crossing, selector)
    return logits, gradient, signed_map("gradcam", crossing[0], gradient)


def activation_and_gradient(model: Compiled, images: Floats) -> tuple[Floats, Floats]:
    """Of each image's predicted class, in one batch."""
    engine = model.engine
    crossing = engine.trunk(images)
    return crossing[0], run_tail(engine, crossing, np.zeros((len(images), model.card.logits), np.float32))[1]


def worst(ours: Floats, theirs: Floats) -> float:
    """Of the images, the largest max |difference| / max |value|, in float64."""
    assert ours.shape == theirs.shape
    flat, other = (array.reshape(len(array), -1).astype(np.float64) for array in (ours, theirs))
    return float((np.abs(flat - other).max(axis=1) / np.abs(other).max(axis=1)).max())


def predicted(logits: Floats) -> list[int]:
    if logits.shape[1] == 1:
        return [int(logit >= 0) for (logit,) in logits]
    return [int(row.argmax()) for row in logits]


# ----------------------------------------------------------------------------------------------------- the proof holds


def check_against_plain_gradcam(model: Compiled, count: int = 6) -> None:
    network, images = model.network, model.images(count)
    with torch.no_grad():
        classes = predicted(network(torch.from_numpy(images)).numpy())
    theirs = plain_gradcam(network, model.description.layer, images, classes)
    ours = explain(model, images, np.zeros((count, model.card.logits), np.float32))
    for name, mine, other in zip(("logits", "gradient", "signed map"), ours, theirs[:3], strict=True):
        assert worst(mine, other) < THRESHOLD, name


@pytest.mark.parametrize(
    "description",
    [
        Description(architecture="torchvision:resnet50"),
        Description(architecture="torchvision:densenet121", layer="features"),
        Description(architecture="torchvision:efficientnet_b0", layer="features"),
        Description(architecture="torchvision:mobilenet_v3_large", layer="features"),
        BYPASS,
    ],
    ids=lambda description: str(description.architecture.rpartition(":")[2]),
)
def test_an_architecture_compiles_and_equals_pytorch_grad_cam(description: Description, tmp_path: Path) -> None:
    model = compiled(description, tmp_path)
    proof = model.card.parity
    assert proof.largest < THRESHOLD
    assert (proof.inputs, proof.nonempty >= 29) == (32, True)
    check_against_plain_gradcam(model)


def test_resnet18_compiles_and_equals_pytorch_grad_cam(resnet18: Compiled) -> None:
    assert resnet18.card.layers[0].shape == (512, 7, 7)
    check_against_plain_gradcam(resnet18)


@pytest.mark.parametrize("output", ["one", "three"])
def test_a_tiny_network_equals_pytorch_grad_cam(output: str, request: pytest.FixtureRequest) -> None:
    check_against_plain_gradcam(request.getfixturevalue(f"{output}_logit{'s' * (output == 'three')}"), count=16)


def test_litresnet_enhanced_compiles_from_a_lightning_checkpoint(tmp_path: Path) -> None:
    description = Description("litresnet-enhanced", {}, "epoch=3.ckpt", BINARY, "sigmoid", "features.7")
    torch.manual_seed(3)
    network = zoo.build("litresnet-enhanced", {})
    batch = torch.from_numpy(np.stack([np.asarray(image) for image in synthetic.images(16, size=(96, 96))]))
    synthetic.settle(network, list((batch.permute(0, 3, 1, 2) / 127.5 - 1).chunk(2)))
    checkpoint = {
        "state_dict": {f"model.{key}": value for key, value in network.state_dict().items()},
        "hyper_parameters": {"learning_rate": 1e-4, "dropout": 0.5},
        "pytorch-lightning_version": "2.6.0",
        "epoch": 3,
        "global_step": 100,
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    torch.save(checkpoint, tmp_path / "epoch=3.ckpt")
    model = compiled(description, tmp_path)
    digest = hashlib.sha256((tmp_path / "epoch=3.ckpt").read_bytes()).hexdigest()
    assert model.card.source == {
        "architecture": "litresnet-enhanced",
        "weights": "epoch=3.ckpt",
        "weights_sha256": digest,
        "weights_entry": "state_dict",
        "weights_prefix": "model.",
    }
    assert torch.equal(model.network.state_dict()["classifier.8.bias"], network.state_dict()["classifier.8.bias"])
    check_against_plain_gradcam(model)


@torch.no_grad()
def test_the_zoos_densenet_returns_torchvisions_logits() -> None:
    ours, theirs = zoo.build("torchvision:densenet121", {}), torchvision.models.densenet121(weights=None).eval()
    ours.load_state_dict(theirs.state_dict())
    image = _batch(synthetic.images(2, size=(64, 64)))
    assert torch.equal(ours(image), theirs(image))


DEMO = Path(zoo.__file__).parents[1] / "demo" / "model.toml"


def test_the_demo_model_compiles(tmp_path: Path) -> None:
    card = compile_model(DEMO, tmp_path / "out")
    assert card.parity.largest < 1e-5
    assert card.layers[0].shape[1] >= 16
    assert card.calibration is not None
    assert card.calibration.images == 512
    assert {label: peaks.images for label, peaks in card.calibration.classes.items()} == {"CLEAR": 256, "OPACITY": 256}
    reference = card.layers[0].familiarity
    assert reference is not None
    assert reference.auroc > 0.9999
    assert min(reference.unfamiliar.values()) == 1


def test_stopping_pytorch_grad_cams_backward_pass_at_the_layer_changes_nothing(three_logits: Compiled) -> None:
    network, images = three_logits.network, three_logits.images(4)
    classes = [0, 1, 2, 1]
    short = reference.explain(network, "layer4", torch.from_numpy(images), classes)
    logits, gradient, signed, heat = plain_gradcam(network, "layer4", images, classes)
    for mine, other in ((short.logits, logits), (short.gradient, gradient), (short.signed_map, signed)):
        assert worst(mine, other) < 1e-6
    assert np.abs(short.heat - heat).max() < 1e-5
    assert all(parameter.requires_grad for parameter in network.parameters())


def settled(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A seeded network after settling, and images it has not seen."""
    torch.manual_seed(0)
    network = zoo.build(f"torchvision:{name}", {})
    seen, unseen = (_batch(synthetic.images(16, size=(96, 96), seed=seed)) for seed in (1, 2))
    synthetic.settle(network, list(seen.chunk(2)))
    return network, unseen


def _batch(images: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 64 - 2


@torch.no_grad()
def test_a_settled_network_tells_images_apart() -> None:
    network, unseen = settled("mobilenet_v3_small")
    logits = network(unseen)
    assert (logits.std(dim=0).mean() / logits.abs().mean()).item() > 0.1
    assert not any(module.training for module in network.modules())


@torch.no_grad()
def test_a_settled_network_does_not_magnify_rounding() -> None:
    network, unseen = settled("resnet50")
    single = network(unseen[:4])
    double = network.double()(unseen[:4].double())
    assert ((single - double).abs().max() / double.abs().max()).item() < 1e-5


# ------------------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("name", ["one_logit", "three_logits", "resnet18"])
def test_an_image_is_explained_alike_in_every_batch(name: str, request: pytest.FixtureRequest) -> None:
    model: Compiled = request.getfixturevalue(name)
    images = model.images(8)
    selector = np.zeros((8, model.card.logits), np.float32)
    together = explain(model, images, selector)
    for size in (1, 3):
        alone = explain(model, images[:size], selector[:size])
        for mine, other in zip(alone, together, strict=True):
            assert worst(mine, other[:size]) < 1e-6


# ----------------------------------------------------------------------------------------------------------- selector


def test_one_logit_is_explained_by_its_sign(one_logit: Compiled) -> None:
    images = one_logit.images(24)
    logits, gradient, _ = explain(one_logit, images, np.zeros((24, 1), np.float32))
    sign = np.where(logits >= 0, 1, -1).astype(np.float32)
    assert set(sign.ravel()) == {-1, 1}, "the images must be of both classes for this test to say anything"
    _, positive, _ = explain(one_logit, images, np.ones((24, 1), np.float32))
    np.testing.assert_array_equal(gradient, sign[:, :, None, None] * positive)


def test_an_explicit_class_is_the_one_explained(three_logits: Compiled) -> None:
    images = three_logits.images(6)
    for index in range(3):
        selector = np.eye(3, dtype=np.float32)[[index] * 6]
        ours = explain(three_logits, images, selector)
        theirs = plain_gradcam(three_logits.network, "layer4", images, [index] * 6)
        for mine, other in zip(ours, theirs[:3], strict=True):
            assert worst(mine, other) < THRESHOLD


def test_a_batch_may_mix_the_predicted_class_with_explicit_ones(three_logits: Compiled) -> None:
    images = np.repeat(three_logits.images(1), 4, axis=0)
    selector = np.vstack([np.zeros((1, 3)), np.eye(3)]).astype(np.float32)
    logits, gradient, _ = explain(three_logits, images, selector)
    np.testing.assert_array_equal(gradient[0], gradient[1 + int(logits[0].argmax())])
    assert not np.array_equal(gradient[1], gradient[2])


# ------------------------------------------------------------------------------------------------------ the final map


def slow_bilinear(small: Floats, size: int) -> Floats:
    """Half-pixel bilinear enlargement with clamped edges, cell by cell."""
    height, width = small.shape
    large = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            y = min(max((row + 0.5) * height / size - 0.5, 0), height - 1)
            x = min(max((column + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            dy, dx = y - top, x - left
            upper = small[top, left] * (1 - dx) + small[top, left + 1] * dx
            lower = small[top + 1, left] * (1 - dx) + small[top + 1, left + 1] * dx
            large[row, column] = upper * (1 - dy) + lower * dy
    return large.astype(np.float32)


def stretched(values: Floats) -> Floats:
    """pytorch-grad-cam's scaling of one map: the minimum to 0, the maximum to (almost) 1."""
    shifted = values - values.min()
    scaled: Floats = shifted / (1e-7 + shifted.max())
    return scaled


def test_the_final_map_is_pytorch_grad_cams_grayscale(resnet18: Compiled) -> None:
    images = resnet18.images(4)
    logits, _, signed = explain(resnet18, images, np.zeros((4, 1000), np.float32))
    *_, heat = plain_gradcam(resnet18.network, "layer4", images, predicted(logits))
    for mine, other in zip(signed, heat, strict=True):
        final = stretched(slow_bilinear(stretched(np.maximum(mine, 0)), 224))
        assert np.abs(final - other).max() < THRESHOLD


# ------------------------------------------------------------------------------------------------ what the folder holds


def test_a_folder_holds_two_graphs_and_a_card_that_fits_them(three_logits: Compiled) -> None:
    card = three_logits.card
    assert sorted(path.name for path in three_logits.folder.iterdir()) == ["card.json", "tail.onnx", "trunk.onnx"]
    layer = card.layer()
    assert (layer.trunk.inputs, layer.trunk.outputs) == (("image",), ("activation",))
    assert (layer.tail.inputs, layer.tail.outputs) == (("activation", "selector", "owners"), ("logits", "gradient"))
    assert (layer.name, layer.tokens, card.combined) == ("layer4", None, None)
    assert card.layers[0].shape == (16, 12, 12)
    assert card.parity.reference.startswith("pytorch-grad-cam 1.")
    assert set(card.made_with) == {"torch", "torchvision", "onnx", "openvino", "grad-cam", "heatlens"}
    assert (card.calibration, card.evaluation, card.training) == (None, None, None)
    assert card.methods == METHOD_NAMES


def test_further_values_that_cross_the_cut_are_named(tmp_path: Path) -> None:
    model = compiled(BYPASS, tmp_path)
    layer = model.card.layer()
    assert layer.trunk.outputs == ("activation", "crossing.0")
    assert layer.tail.inputs == ("activation", "crossing.0", "selector", "owners")


def test_only_the_batch_of_a_tensor_and_the_rows_of_targets_are_dynamic(three_logits: Compiled) -> None:
    sizes = {"image": "batch", "activation": "batch"} | dict.fromkeys(
        ("selector", "owners", "logits", "gradient"), "rows"
    )
    for name in ("trunk.onnx", "tail.onnx"):
        graph = onnx.load(three_logits.folder / name).graph
        for value in [*graph.input, *graph.output]:
            first, *others = value.type.tensor_type.shape.dim
            assert (first.dim_param, [dim.dim_param for dim in others]) == (sizes[value.name], [""] * len(others))


def test_the_same_weights_give_the_same_bytes_without_paths(three_logits: Compiled, tmp_path: Path) -> None:
    again = compiled(THREE_LOGITS, tmp_path)
    for name in ("trunk.onnx", "tail.onnx"):
        data = (again.folder / name).read_bytes()
        assert data == (three_logits.folder / name).read_bytes()
        assert b".py" not in data
        assert os.sep.encode() + b"site-packages" not in data


def test_the_folder_is_readable_by_others(three_logits: Compiled) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert three_logits.folder.stat().st_mode & 0o777 == 0o777 & ~umask


def test_functions_of_the_description_calibrate_and_evaluate_the_compiled_model(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"epochs": 3}')
    hooks = {"inputs": f"{__name__}:pictures", "evaluation": f"{__name__}:judge", "training": "training.json"}
    model = compiled(Description(**{**vars(ONE_LOGIT), "more": hooks}), tmp_path)
    card, network = model.card, model.network
    assert card.training == {"epochs": 3}

    images = stack(pictures(64), card.preprocess)
    with torch.no_grad():
        classes = predicted(network(torch.from_numpy(images)).numpy())
    peaks = plain_gradcam(network, "layer4", images, classes)[2].max(axis=(1, 2))
    assert card.calibration is not None
    assert card.calibration.images == 64
    for percentile, peak in card.calibration.peak_percentiles.items():
        assert peak == pytest.approx(np.percentile(peaks, float(percentile)), rel=1e-3)

    activation, gradient = activation_and_gradient(model, images)
    layer = card.layers[0]
    assert set(layer.calibrations) == set(METHODS) - {"gradcam"}
    for method, calibration in layer.calibrations.items():
        maps = np.concatenate([signed_map(method, activation[at : at + 1], gradient[at : at + 1]) for at in range(64)])
        expected = np.percentile(maps.max(axis=(1, 2)), [5, 50, 99])
        found = [calibration.peak_percentiles[percentile] for percentile in ("5", "50", "99")]
        assert found == pytest.approx(expected, rel=1e-4), method

    logits, _, maps, _ = plain_gradcam(network, "layer4", stack(pictures(5), card.preprocess), [1] * 5)
    assert card.evaluation is not None
    assert (card.evaluation["shape"], card.evaluation["kinds"]) == ([5, 12, 12], ["float32", "float32"])
    scale = float(np.abs(logits).max())
    assert card.evaluation["logits"] == pytest.approx(logits[:, 0].tolist(), abs=THRESHOLD * scale, rel=0)
    assert worst(np.array(card.evaluation["maps"], np.float32), maps) < THRESHOLD


# ------------------------------------------------------------------------------------------------------------ refusals


def changed(description: Description, **fields: object) -> Description:
    return Description(**{**vars(description), **fields})


def hook(name: str, function: str) -> dict[str, str]:
    return {name: f"{__name__}:{function}"}


TINY = THREE_LOGITS
OVERWRITTEN = (
    "the output of layer '{}' is overwritten in place by what follows (an in-place activation or sum): "
    "choose the layer that ends after it, or one before the overwritten layer"
)
VACUOUS = (
    "only 0 of 32 maps of '0' have positive evidence, so comparing them proves nothing: "
    "use trained weights, or name images the network knows under `inputs`"
)
DOES_NOT_RUN = (
    "the network does not run on an image batch of shape (16, 3, 48, 48): it raises AssertionError: "
    f"the network's own words (test_compile.py:{line_of('raise AssertionError')}); "
    "is it made for several images at once, and for the channels and the size that `preprocess` says?"
)
DATA_IN_PYTHON = (
    "torch.export cannot capture the network: its Python code depends on the values of the image "
    f"(test_compile.py:{line_of('if image.sum()')}), "
    f"as `if x.sum() > 0`, float(x) and x.item() do: write it with torch.where(), or leave it out; {INSTEAD}"
)
REFUSALS = {
    "unknown torchvision name": (
        changed(TINY, architecture="torchvision:resnet19"),
        "architecture: torchvision has no classification model 'resnet19'",
    ),
    "unknown name": (
        changed(TINY, architecture="resnet18"),
        "architecture: 'resnet18' is none of torchvision:NAME, timm:NAME, package.module:factory, litresnet-enhanced",
    ),
    "no such factory": (
        changed(TINY, architecture="nowhere:build"),
        "architecture: 'nowhere:build' cannot be imported as package.module:function",
    ),
    "wrong arguments": (
        changed(TINY, arguments={"logits": 3, "depth": 2}),
        f"architecture: '{__name__}:tiny' cannot be built with the arguments depth, logits",
    ),
    "missing weights": (
        changed(TINY, weights="weights.pt"),
        "weights: weights.pt: no such file beside the model description",
    ),
    "unknown layer": (
        changed(TINY, layer="layer5"),
        "layer: there is no layer 'layer5': the network has stem, layer3, layer4, head",
    ),
    "unknown layer inside": (
        changed(TINY, layer="layer4.9"),
        "layer: there is no layer 'layer4.9': 'layer4' has 0, 1, 2",
    ),
    "class count": (
        changed(TINY, classes=["a", "b"]),
        "classes: 2 names with output 'softmax' need 2 logits, but the network answers 3",
    ),
    "imagenet classes": (
        changed(TINY, classes="imagenet"),
        "classes: 1000 names with output 'softmax' need 1000 logits, but the network answers 3",
    ),
    "sigmoid needs two": (
        changed(ONE_LOGIT, classes=["a", "b", "c"]),
        "classes: a sigmoid model has exactly two, negative then positive",
    ),
    "not a map": (
        changed(TINY, layer="head"),
        "layer 'head' does not answer one tensor [B,C,h,w], [B,h,w,C] or [B,N,C]",
    ),
    "runs twice": (
        changed(TINY, arguments={"logits": 3, "kind": "Twice"}),
        "layer 'layer4' runs 2 times per image, but a target must run exactly once",
    ),
    "overwritten": (
        changed(TINY, arguments={"logits": 3, "kind": "Overwriting"}),
        OVERWRITTEN.format("layer4"),
    ),
    "overwritten inside": (
        changed(TINY, layer="layer4.1"),
        OVERWRITTEN.format("layer4.1"),
    ),
    "data in Python": (
        changed(TINY, arguments={"logits": 3, "kind": "Branching"}),
        DATA_IN_PYTHON,
    ),
    "raises": (
        changed(TINY, arguments={"logits": 3, "kind": "Raising"}),
        DOES_NOT_RUN,
    ),
    "no numbers": (
        changed(TINY, arguments={"logits": 3, "kind": "Infinite"}),
        "the network returns logits that are not finite: check its weights",
    ),
    "no conversion": (
        changed(TINY, arguments={"logits": 3, "kind": "Sorting"}),
        f"the network after 'layer4' cannot be converted to ONNX: operator cummax has no conversion; {INSTEAD}",
    ),
    "vacuous proof": (
        changed(TINY, architecture=f"{__name__}:hopeless", layer="0"),
        VACUOUS,
    ),
    "too few images": (
        changed(TINY, more=hook("inputs", "no_pictures")),
        f"inputs: '{__name__}:no_pictures' returned 8 images, the proof needs 32",
    ),
    "failing inputs": (
        changed(TINY, more=hook("inputs", "failing")),
        f"inputs: '{__name__}:failing' failed with KeyError",
    ),
    "failing evaluation": (
        changed(TINY, more=hook("evaluation", "failing")),
        f"evaluation: '{__name__}:failing' failed with KeyError",
    ),
    "no training record": (
        changed(TINY, more={"training": "training.json"}),
        "training: training.json: no such readable file",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_failed_compilation_is_one_sentence_and_leaves_no_folder(case: str, tmp_path: Path) -> None:
    description, message = REFUSALS[case]
    path = description.write(tmp_path)
    with pytest.raises(ModelError) as caught:
        compile_model(path, tmp_path / "out")
    assert re.sub(r"^model\.toml(:\d+)?: ", "", str(caught.value)) == message
    assert os.listdir(tmp_path) == ["model.toml"]


@pytest.mark.parametrize("case", ["data in Python", "no conversion"])
@pytest.mark.parametrize("chosen", [None, [2, 0, 1]], ids=["predicted", "chosen"])
def test_the_alternative_that_an_error_offers_explains_the_network(
    case: str, chosen: list[int] | None, tmp_path: Path
) -> None:
    description, message = REFUSALS[case]
    path, images = description.write(tmp_path), pictures(3)
    offered = re.search(r"heatlens_torch\.uncompiled\.explain\(.*?\)", message)
    assert offered, "the sentence is to name the call"
    if chosen is None:
        code = offered[0].replace('"model.toml"', repr(str(path)))
        found = eval(code, {"heatlens_torch": heatlens_torch, "images": images})
    else:
        found = heatlens_torch.uncompiled.explain(path, images, classes=chosen)

    network, recipe = build_network(read_spec(path), tmp_path).network, read_spec(path).preprocess
    batch = stack(images, recipe)
    classes = chosen or predicted(found.logits)
    theirs = plain_gradcam(network, "layer4", batch, classes)
    for mine, other in zip((found.logits, found.gradient, found.signed_map, found.heat), theirs, strict=True):
        assert parity.ratio(mine, other) < 1e-5


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"images": []}, "images: there is no image to explain: give at least one"),
        ({"classes": [0]}, "classes: 1 for 2 images: give one for each"),
        ({"classes": [0, 3]}, "classes: the network has no class 3: it has 0 to 2"),
        ({"layer": "layer5"}, "layer: there is no layer 'layer5': the network has stem, layer3, layer4, head"),
    ],
    ids=["no picture", "too few classes", "no such class", "no such layer"],
)
def test_uncompiled_explain_rejects_invalid_arguments_in_one_sentence(
    asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = TINY.write(tmp_path)
    with pytest.raises(ModelError) as caught:
        heatlens_torch.uncompiled.explain(path, **{"images": pictures(2)} | asked)
    assert re.sub(r"^model\.toml(:\d+)?: ", "", str(caught.value)) == message


def test_a_network_too_large_for_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatlens_torch.graph.onnx_graph.MOST_BYTES", 1000)
    with pytest.raises(CompileError) as caught:
        compile_model(TINY.write(tmp_path), tmp_path / "out")
    assert str(caught.value) == (
        f"the network up to 'layer4' has 0.0 GB of weights, and an ONNX file without others holds 0.0; {INSTEAD}"
    )


def before_the_last_activation(graph: fx.Graph, layer: str) -> fx.Node:
    source = find_cut(graph, layer).args[0]
    assert isinstance(source, fx.Node)
    return source


def at_layer3(graph: fx.Graph, _layer: str) -> fx.Node:
    return find_cut(graph, "layer3")


def at_the_first_operation(graph: fx.Graph, layer: str) -> fx.Node:
    take_mark(graph, layer)  # a mark that stays would be refused instead of the cut
    first: fx.Node = next(node for node in graph.nodes if node.op == "call_function" and layer in str(node.meta))
    return first


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [(before_the_last_activation, ParityError), (at_layer3, CompileError), (at_the_first_operation, CompileError)],
)
def test_a_wrong_cut_is_caught(
    wrong: Callable[[fx.Graph, str], fx.Node],
    kind: type[CompileError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("heatlens_torch.graph.cut_layer.find_cut", wrong)
    path = TINY.write(tmp_path)
    with pytest.raises(kind):
        compile_model(path, tmp_path / "out")
    assert os.listdir(tmp_path) == ["model.toml"]


@pytest.mark.provokes("model.parity")
def test_a_parity_error_has_the_three_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: Any) -> DefaultMap:  # noqa: ANN401 - those of the function
        right = explain_by_default(*given)
        return replace(right, signed_map=right.signed_map * np.float32(1.01))

    monkeypatch.setattr(parity, "explain_by_default", wrong)
    small = r"\d\.\de-0[67]"
    ratios = rf"map 1\.0e-02, gradient {small}, logits {small}, allowed 1e-04; from float64 .* by 1\.0e-02, so the "
    with pytest.raises(ParityError, match=f"{ratios}compiled graphs compute it wrongly; choose"):
        compile_model(TINY.write(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_never_pass(bad: float) -> None:
    values = np.ones((2, 2), np.float32)
    assert parity.ratio(values, values) == 0
    assert parity.ratio(values * np.float32(bad), values) == np.inf
    assert parity.ratio(values, values * np.float32(bad)) == np.inf
    assert parity.ratio(values, values[:1]) == np.inf


def test_a_failure_leaves_the_existing_model_as_it_was(tmp_path: Path) -> None:
    model = compiled(TINY, tmp_path)
    before = {path.name: path.read_bytes() for path in model.folder.iterdir()}
    with pytest.raises(ModelFileError):
        compile_model(changed(TINY, more=hook("evaluation", "failing")).write(tmp_path), model.folder)
    assert {path.name: path.read_bytes() for path in model.folder.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["model.toml", "out"]


def test_success_replaces_an_existing_model_completely(tmp_path: Path) -> None:
    model = compiled(TINY, tmp_path)
    card = model.folder / "card.json"
    card.write_text(card.read_text().replace('"trunk.onnx"', '"stale.onnx"'))
    (model.folder / "trunk.onnx").rename(model.folder / "stale.onnx")
    compile_model(changed(TINY, output="multilabel").write(tmp_path), model.folder)
    assert model.card.output == "multilabel"
    assert not (model.folder / "stale.onnx").exists()
    assert sorted(os.listdir(tmp_path)) == ["model.toml", "out"]


def test_a_folder_that_is_not_a_model_is_never_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "home" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("years")
    with pytest.raises(ModelFileError, match=r"^'home' exists and is not a model folder"):
        compile_model(TINY.write(tmp_path), precious.parent)
    assert precious.read_text() == "years"


def test_a_checkpoint_that_would_run_code_compiles_nothing(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": Bomb()}, tmp_path / "a.ckpt")
    path = changed(TINY, weights="a.ckpt").write(tmp_path)
    with pytest.raises(ModelFileError, match="anything else in it could run code"):
        compile_model(path, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["a.ckpt", "model.toml"]


def test_modules_beside_the_description_are_found_while_compiling_only(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_the_model.py").write_text("def build():\n    raise SystemExit('found')\n")
    path = changed(TINY, architecture="neighbour_of_the_model:build", arguments={}).write(tmp_path)
    with pytest.raises(SystemExit, match="found"):
        compile_model(path, tmp_path / "out")
    assert str(tmp_path) not in sys.path
    assert not (tmp_path / "out").exists()


def test_progress_names_each_stage(tmp_path: Path) -> None:
    stages: list[str] = []
    compile_model(TINY.write(tmp_path), tmp_path / "out", progress=stages.append)
    assert stages == [
        "building the network",
        "exporting, cut at layer4",
        "comparing with pytorch-grad-cam",
        "comparing with random weights",
        "calibrating and evaluating",
        "timing the passes",
        "measuring lower precisions",
    ]

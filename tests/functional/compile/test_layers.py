"""Token grids, the compiler's choice of layer, and several layers in one model, on small networks."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform
from torch import nn

from heatlens.card import Tokens, read_card
from heatlens.engines.base import Engine
from heatlens.engines.onnx_runtime import OnnxRuntimeEngine
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import CompileError, ModelFileError, ParityError
from heatlens.explain import multi_layer
from heatlens.explain.cam import signed_map
from heatlens.model import load_model
from heatlens.types import Floats
from heatlens_torch.compile import compile_model
from heatlens_torch.errors import INSTEAD, WITHOUT_GRADIENTS
from heatlens_torch.graph import grids
from heatlens_torch.graph.layers import layers_of
from heatlens_torch.graph.probe import probe
from heatlens_torch.inspection import inspect_model
from heatlens_torch.loading import zoo
from heatlens_torch.loading.network import build_network, stack
from heatlens_torch.loading.spec import read_spec
from heatlens_torch.loading.synthetic import images
from heatlens_torch.proof import parity
from tests.functional.compile.test_compile import Description, predicted, tiny, worst
from tests.support.engines import graphs_of, run_tail

THRESHOLD = 1e-4
CLASSES = ["a", "b", "c"]
SIDE = 48


def vit(**changes: int) -> nn.Module:
    sizes = {"image_size": SIDE, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    network: nn.Module = torchvision.models.VisionTransformer(**sizes | changes, num_classes=3)
    return network


def swin() -> nn.Module:
    network: nn.Module = torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=3)
    return network


class Tokenized(nn.Module):
    """Cells as a row of tokens, in an order of choice, with a token before and after them, and a mixing layer."""

    def __init__(self, order: list[int] | None = None, *, before: int = 1, after: int = 0, padding: int = 0) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 12, stride=12, padding=padding)
        self.order, self.before, self.after = order, before, after
        self.tokens = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.patches(image).flatten(2).transpose(1, 2)
        if self.order is not None:
            cells = cells[:, self.order]
        middle = cells.mean(dim=1, keepdim=True)
        row = torch.cat([middle.expand(-1, self.before, -1), cells, middle.expand(-1, self.after, -1)], dim=1)
        logits: torch.Tensor = self.head(torch.tanh(self.tokens(row)).mean(dim=1))
        return logits


BUILT_AT: dict[str, Any] = {"classes": CLASSES, "pixels": SIDE}


def description(factory: str, at: str = __name__, **fields: Any) -> Description:  # noqa: ANN401 - its fields
    return Description(**{"architecture": f"{at}:{factory}", **BUILT_AT, **fields})


def write(folder: Path, factory: str, layers: list[str] | None, *, at: str = __name__, **arguments: object) -> Path:
    """A description of a factory in the module `at`, whose `layer` is a list, or absent."""
    path = description(factory, at, arguments=arguments).write(folder)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("layer = ")]
    path.write_text("\n".join([*([f"layer = {layers!r}"] if layers else []), *lines]) + "\n")
    return path


def network_and_images(path: Path, count: int) -> tuple[nn.Module, Floats]:
    spec = read_spec(path)
    pixels = spec.preprocess.shape[0]
    return build_network(spec, path.parent).network, stack(
        images(count, size=(pixels, pixels), seed=9), spec.preprocess
    )


Reshape = Callable[[torch.Tensor], torch.Tensor]


def plainly(network: nn.Module, layers: list[str], batch: Floats, reshape: Reshape | None) -> tuple[Floats, ...]:
    """pytorch-grad-cam as documented, of each image's predicted class: gradient, signed map (one layer), heat."""
    modules = [network.get_submodule(layer) for layer in layers]
    with torch.no_grad():
        targets = [ClassifierOutputTarget(index) for index in predicted(network(torch.from_numpy(batch)).numpy())]
    with GradCAM(model=network, target_layers=modules, reshape_transform=reshape) as cam:
        heat = cam(input_tensor=torch.from_numpy(batch), targets=targets)
        activation, gradient = (
            values[0].numpy() for values in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
    signed = (gradient.mean(axis=(2, 3), keepdims=True) * activation).sum(axis=1)
    return gradient, signed, heat


def six_by_six(tokens: torch.Tensor) -> torch.Tensor:
    grid: torch.Tensor = vit_reshape_transform(tokens, height=6, width=6)
    return grid


# ---------------------------------------------------------------------------------------------------------- token grids


@pytest.mark.parametrize(
    ("factory", "layer", "tokens", "reshape"),
    [
        ("vit", None, Tokens(order="rows", before=1), six_by_six),
        ("vit", "encoder.layers.encoder_layer_0", Tokens(order="rows", before=1), six_by_six),
        ("swin", None, None, None),
        ("swin", "features.1", Tokens(order="channels_last"), lambda output: output.permute(0, 3, 1, 2)),
    ],
)
def test_a_transformer_equals_pytorch_grad_cam_with_the_matching_reshape(
    factory: str, layer: str | None, tokens: Tokens | None, reshape: Reshape | None, tmp_path: Path
) -> None:
    path = write(tmp_path, factory, [layer] if layer else None)
    card = compile_model(path, tmp_path / "out")
    network, batch = network_and_images(path, 4)
    [compiled] = card.layers
    assert compiled.tokens == tokens

    engine = load_model(tmp_path / "out").engine
    crossing = engine.trunk(batch)
    _, gradient = run_tail(engine, crossing, np.zeros((4, 3), np.float32))

    theirs, signed, _ = plainly(network, [compiled.name], batch, reshape)
    assert worst(gradient, theirs) < THRESHOLD
    assert worst(signed_map("gradcam", crossing[0], gradient), signed) < THRESHOLD


@pytest.mark.parametrize("engine_of", [OpenVinoEngine, OnnxRuntimeEngine])
@pytest.mark.parametrize(("factory", "layer"), [("vit", None), ("swin", "features.1"), ("tiny", "layer3")])
def test_many_targets_of_an_image_have_the_gradients_that_they_have_alone(
    factory: str, layer: str | None, engine_of: Callable[..., Engine], tmp_path: Path
) -> None:
    at, arguments = (tiny.__module__, {"logits": 3}) if factory == "tiny" else (__name__, {})
    path = write(tmp_path, factory, [layer] if layer else None, at=at, **arguments)
    compile_model(path, tmp_path / "out", draft=True)
    engine, batch = engine_of(tmp_path / "out", *graphs_of(tmp_path / "out")), network_and_images(path, 2)[1]
    crossing = engine.trunk(batch)
    for targets in (1, 3, 10):
        owners = np.repeat(np.arange(2), targets)
        selector = np.random.default_rng(targets).standard_normal((len(owners), 3), dtype=np.float32)
        selector[0] = 0  # the predicted class

        together = engine.tail(crossing, selector, owners)
        alone = [
            run_tail(engine, [value[owner][None] for value in crossing], selector[row][None])
            for row, owner in enumerate(owners)
        ]

        for ours, theirs in zip(together, zip(*alone, strict=True), strict=True):
            assert ours is not None
            assert worst(ours, np.concatenate(theirs)) < 1e-6


def wide_vit() -> nn.Module:
    return vit(num_layers=1, hidden_dim=768, num_heads=12)


def test_a_transformer_as_wide_as_real_ones_is_proven(tmp_path: Path) -> None:
    """The projection behind its attention is a large square matrix, used both ways round."""
    card = compile_model(write(tmp_path, "wide_vit", None), tmp_path / "out")

    assert card.layers[0].shape == (768, 6, 6)
    tail = onnx.load(tmp_path / "out" / "tail.onnx")
    assert [each.name for each in tail.graph.initializer if each.name.endswith(".turned")]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 1), (5, 0)])
def test_tokens_that_are_not_cells_are_recognized(before: int, after: int) -> None:
    torch.manual_seed(0)
    network = Tokenized(before=before, after=after).eval()

    layout = probe(network, "tokens", torch.randn(2, 3, SIDE, SIDE)).layout

    assert layout == grids.Layout(8, 4, 4, Tokens(order="rows", before=before, after=after))


def test_tokens_in_another_order_than_the_images_are_refused() -> None:
    torch.manual_seed(0)
    backwards = Tokenized(list(range(15, -1, -1))).eval()

    with pytest.raises(CompileError) as caught:
        probe(backwards, "tokens", torch.randn(2, 3, SIDE, SIDE))

    assert str(caught.value) == (
        "layer 'tokens' answers (17, 8), and no grid of these follows the image: where the image is disturbed, other "
        "cells change; choose 'patches' instead. If you know its grid, say grid = [height, width]"
    )
    with pytest.raises(ModelFileError) as refused:
        probe(backwards, "tokens", torch.randn(2, 3, SIDE, SIDE), grid=(4, 4))
    assert str(refused.value) == (
        "grid: layer 'tokens' does not follow the image as 4x4 cells: where the image is disturbed, other cells "
        "change; choose 'patches' instead"
    )


def test_tokens_that_fill_no_grid_are_refused() -> None:
    network = Tokenized([0, 1, 2], before=0).eval()

    with pytest.raises(CompileError) as caught:
        probe(network, "tokens", torch.randn(2, 3, SIDE, SIDE))

    assert str(caught.value) == (
        "layer 'tokens' answers 3 tokens, which are no grid over an input of 48x48: "
        "say which with grid = [height, width]"
    )


@pytest.mark.parametrize(
    ("shape", "grid", "before", "expected"),
    [
        ((50, 64), (7, 7), None, grids.Layout(64, 7, 7, Tokens(order="rows", before=1))),
        ((50, 64), (7, 7), 0, grids.Layout(64, 7, 7, Tokens(order="rows", after=1))),
        ((54, 64), (7, 7), 2, grids.Layout(64, 7, 7, Tokens(order="rows", before=2, after=3))),
        ((60, 64), (7, 7), 11, grids.Layout(64, 7, 7, Tokens(order="rows", before=11))),
        ((64, 3, 9), (3, 9), None, grids.Layout(64, 3, 9)),
        ((3, 9, 64), (3, 9), None, grids.Layout(64, 3, 9, Tokens(order="channels_last"))),
        ((50, 64), (8, 7), None, "has 50 tokens, fewer than 8x7 cells"),
        ((50, 64), (7, 7), 2, "has 50 tokens, fewer than 7x7 cells and 2 before them"),
        ((58, 64), (7, 7), None, "has 58 tokens, 9 more than 7x7 cells: is it the right grid?"),
        ((64, 3, 9), (9, 3), None, "answers (64, 3, 9), which is no map of 9x3 cells"),
    ],
)
def test_a_given_grid_is_used(
    shape: tuple[int, ...], grid: tuple[int, int], before: int | None, expected: grids.Layout | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
            grids.layout_of(shape, grid, before)
    else:
        assert grids.layout_of(shape, grid, before) == expected


def striped() -> nn.Module:
    """Three columns of cells, each as high as the image: a grid that nobody would guess."""
    network = Tokenized()
    network.patches = nn.Conv2d(3, 8, (SIDE, 16), stride=(SIDE, 16))
    return network


def test_a_given_grid_is_compiled(tmp_path: Path) -> None:
    path = write(tmp_path, "striped", ["tokens"])
    with pytest.raises(CompileError, match=r"layer 'tokens' answers 4 tokens, which|no grid of these follows"):
        compile_model(path, tmp_path / "out")
    path.write_text("grid = [1, 3]\n" + path.read_text())
    found = {each.name: each.shape for each in inspect_model(path).layers}
    assert found == {"patches": (8, 1, 3), "tokens": (8, 1, 3)}

    [layer] = compile_model(path, tmp_path / "out").layers

    assert (layer.shape, layer.tokens) == ((8, 1, 3), Tokens(order="rows", before=1))
    batch = network_and_images(path, 3)[1]
    assert load_model(tmp_path / "out").engine.trunk(batch)[0].shape == (3, 8, 1, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("grid = [7, 7]", "model.toml:1: grid: layer 'tokens' has 17 tokens, fewer than 7x7 cells"),
        ("class_tokens = 1", "model.toml:1: class_tokens: means nothing without grid"),
        ("grid = [0, 7]", "model.toml:1: grid.0: Input should be greater than 0"),
        ("grid = {patches = [4, 4]}", "model.toml:1: grid: 'patches' is not among the layers tokens"),
    ],
)
def test_a_wrong_grid_is_refused_with_its_place(line: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, "Tokenized", ["tokens"])
    path.write_text(f"{line}\n{path.read_text()}")

    with pytest.raises(ModelFileError) as caught:
        compile_model(path, tmp_path / "out")

    assert str(caught.value) == message


def test_a_grid_needs_its_layers_name(tmp_path: Path) -> None:
    path = write(tmp_path, "vit", None)
    path.write_text("grid = [6, 6]\n" + path.read_text())

    with pytest.raises(ModelFileError, match=r"^model\.toml:1: grid: is of a layer: name it as layer$"):
        compile_model(path, tmp_path / "out")


def test_each_of_several_layers_may_have_a_grid_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, "Tokenized", ["patches", "tokens"])
    path.write_text("grid = {tokens = [2, 8]}\nclass_tokens = 0\n" + path.read_text())
    spec = read_spec(path)

    assert [spec.grid_of(name) for name in spec.layers] == [None, (2, 8)]


def test_an_oblong_image_has_an_oblong_grid() -> None:
    torch.manual_seed(0)
    layout = probe(Tokenized().eval(), "tokens", torch.randn(2, 3, SIDE, 2 * SIDE)).layout

    assert layout.shape == (8, 4, 8)


def test_a_wrong_grid_is_refused_by_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs are given a grid that is turned over; pytorch-grad-cam keeps the true one."""
    regrid = grids.regrid

    def shifted(captured: torch.fx.GraphModule, output: torch.fx.Node, layout: grids.Layout) -> torch.fx.Node:
        wrong = grids.Layout(*layout.shape, Tokens(order="rows", before=0, after=1))
        return regrid(captured, output, wrong)

    monkeypatch.setattr("heatlens_torch.graph.cut_layer.regrid", shifted)
    with pytest.raises(ParityError, match=r"explanation of 'encoder\.layers\.encoder_layer_1\.ln_1' differs"):
        compile_model(write(tmp_path, "vit", None), tmp_path / "out")


@pytest.mark.parametrize(
    ("shape", "image", "expected"),
    [
        ((64, 7, 7), (224, 224), [(64, 7, 7, None)]),
        ((7, 7, 64), (224, 224), [(64, 7, 7, "channels_last")]),
        ((8, 8, 8), (224, 224), [(8, 8, 8, None), (8, 8, 8, "channels_last")]),
        ((5, 7, 64), (160, 224), [(64, 5, 7, "channels_last")]),
        ((64, 1, 9), (32, 32), [(64, 1, 9, None)]),
        ((196, 64), (224, 224), [(64, 14, 14, "rows")]),
        ((11, 64), (224, 224), [(64, 3, 3, "rows")] * 2 + [(64, 2, 2, "rows")] * 2),
        ((12, 12, 16), (48, 48), [(16, 12, 12, "channels_last"), (12, 12, 16, None)]),
        ((3, 64), (1024, 64), []),
        ((64,), (224, 224), []),
    ],
)
def test_layouts_lists_the_possible_grids_of_a_shape(
    shape: tuple[int, ...], image: tuple[int, int], expected: list[tuple[object, ...]]
) -> None:
    found = grids.layouts(shape, image)

    assert [(*layout.shape, layout.tokens and layout.tokens.order) for layout in found] == expected
    assert all(layout.holds(shape) for layout in found)


# ------------------------------------------------------------------------------------------------- the choice of layer


@pytest.mark.parametrize(
    ("architecture", "last"),
    [
        ("torchvision:resnet18", "layer4"),
        ("torchvision:mobilenet_v3_small", "features"),
        ("torchvision:shufflenet_v2_x0_5", "conv5"),
        ("torchvision:mnasnet0_5", "layers"),
        ("torchvision:squeezenet1_1", "classifier.2"),
        (f"{__name__}:vit", "encoder.layers.encoder_layer_1.ln_1"),
        (f"{__name__}:swin", "permute"),
    ],
)
def test_the_last_layer_with_a_grid_that_matters_is_chosen(architecture: str, last: str) -> None:
    network = zoo.build(architecture, {})
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight)

    assert layers_of(network, (SIDE, SIDE))[-1].name == last
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_layers_that_cannot_be_explained_are_not_listed() -> None:
    names = [candidate.name for candidate in layers_of(tiny(3).eval(), (SIDE, SIDE))]

    # Neither what an in-place activation overwrites, nor two names of one tensor, nor what has no grid.
    assert names == ["stem.0", "stem", "layer3.0", "layer3", "layer4.0", "layer4"]
    twice = [candidate.name for candidate in layers_of(tiny(3, "Twice").eval(), (SIDE, SIDE))]
    assert twice == ["stem.0", "stem", "layer3.0", "layer3"]


def test_a_candidate_has_class_shape_and_tokens() -> None:
    network = zoo.build(f"{__name__}:swin", {})

    [found] = [each for each in layers_of(network, (SIDE, SIDE)) if each.name == "features.1"]

    assert (found.kind, found.shape, found.tokens) == ("Sequential", (16, 12, 12), Tokens(order="channels_last"))


@pytest.mark.provokes("model.compile")
def test_a_network_without_a_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no layer of the network returns a grid that its logits depend on"):
        compile_model(write(tmp_path, "flat", None), tmp_path / "out")


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 8), nn.ReLU(), nn.Linear(8, 3))


# ------------------------------------------------------------------------------------------------------- several layers


def test_several_layers_each_with_a_proof_combine_as_pytorch_grad_cam_combines_them(tmp_path: Path) -> None:
    layers = ["layer4", "layer3", "stem"]
    path = Description(architecture=f"{__name__}:three", **BUILT_AT).write(tmp_path)
    path.write_text(path.read_text().replace('layer = "layer4"', f"layer = {layers}"))
    compile_model(path, tmp_path / "out")
    network, batch = network_and_images(path, 5)
    model = load_model(tmp_path / "out")

    assert [layer.name for layer in model.card.layers] == layers
    assert [layer.shape for layer in model.card.layers] == [(16, 12, 12), (12, 12, 12), (8, 12, 12)]
    assert [layer.tail.file for layer in model.card.layers] == ["tail.onnx", "tail.1.onnx", "tail.2.onnx"]
    assert model.card.combined is not None
    assert model.card.combined < THRESHOLD

    for layer in layers:
        engine = model.engine_of(layer)
        crossing = engine.trunk(batch)
        _, gradient = run_tail(engine, crossing, np.zeros((5, 3), np.float32))
        map_of_engine = signed_map("gradcam", crossing[0], gradient)
        assert worst(map_of_engine, plainly(network, [layer], batch, None)[1]) < THRESHOLD, layer
    for named in (layers, layers[:2], layers[1:2]):
        _, heat = multi_layer.explain(model, batch, np.zeros((5, 3), np.float32), named)
        assert np.abs(heat - plainly(network, named, batch, None)[2]).max() < THRESHOLD, named


def three() -> nn.Module:
    return tiny(3)


def test_layers_of_different_kinds_share_one_model(tmp_path: Path) -> None:
    layers = ["conv_proj", "encoder.layers.encoder_layer_1.ln_1"]
    card = compile_model(write(tmp_path, "vit", layers), tmp_path / "out")

    assert [layer.tokens for layer in card.layers] == [None, Tokens(order="rows", before=1)]
    assert card.combined is not None


def test_a_combination_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "combined", lambda maps, size: multi_layer.combined(maps[:1], size))
    with pytest.raises(ParityError, match=r"the combined map of layer4, layer3 differs from pytorch-grad-cam .*: \d"):
        compile_model(write(tmp_path, "three", ["layer4", "layer3"]), tmp_path / "out")


def test_a_layer_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"^model\.toml:\d+: layer: 'layer4' is named twice$"):
        compile_model(write(tmp_path, "three", ["layer4", "layer3", "layer4"]), tmp_path / "out")


# ------------------------------------------------------------------------------------------------------------ refusals


def test_an_operator_that_fixes_the_batch_is_named_with_an_alternative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heatlens_torch.graph.cut_layer.simplify", lambda captured: None)
    with pytest.raises(CompileError) as caught:
        compile_model(write(tmp_path, "swin", ["features.1"]), tmp_path / "out")

    assert str(caught.value) == (
        f"the network after 'features.1' works on one size of batch only: operator pad fixes it; "
        f"{INSTEAD}; {WITHOUT_GRADIENTS}"
    )


def test_a_card_with_another_grid_than_its_graphs_is_refused(tmp_path: Path) -> None:
    compile_model(write(tmp_path, "three", ["layer4", "layer3"]), tmp_path / "out")
    path = tmp_path / "out" / "card.json"
    path.write_text(path.read_text().replace("12,\n        12,\n        12", "12,\n        6,\n        24"))
    assert read_card(path.parent)[0].layers[1].shape == (12, 6, 24)

    with pytest.raises(Exception, match="the graphs answer other shapes than the card says"):
        load_model(path.parent)

"""Weights are randomized and restored, and the check tells maps that depend on them from maps that do not."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torchvision.models.vision_transformer import VisionTransformer

from heatlens.card import Sanity
from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.loading import exported_program, synthetic
from heatlens_torch.proof import reference, sanity
from heatlens_torch.proof.parity import explain_reference
from heatlens_torch.proof.randomize import randomized, weight_layers

SIDE = 32


class Edges(nn.Module):
    """Finds edges with filters that nobody has learnt."""

    kernel: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0]] * 3).expand(1, 3, 3, 3)
        self.register_buffer("kernel", torch.cat([across, across.transpose(2, 3)]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(functional.conv2d(image, self.kernel, padding=1).abs(), 4)


class EdgeCounter(nn.Module):
    """Its weights take part in the logits, but not in where the map is hot."""

    def __init__(self, logits: int = 3) -> None:
        super().__init__()
        self.edges = Edges()
        self.color = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, logits))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.edges(image).mean(dim=(1, 2, 3))[:, None] + self.color(image.mean(dim=(2, 3)))
        return logits


class Backwards(nn.Module):
    """Registers its head first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.stem = nn.Conv2d(3, 6, 3, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.stem(image)).relu().mean(dim=(2, 3)))
        return logits


def convolutions(logits: int = 3) -> nn.Module:
    torch.manual_seed(5)
    layers: list[nn.Module] = []
    for channels, widened in ((3, 8), (8, 12), (12, 16)):
        layers += [nn.Conv2d(channels, widened, 3, 1 + (channels < 12), 1), nn.BatchNorm2d(widened), nn.ReLU()]
    network = nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, logits))
    synthetic.settle(network.eval(), list(torch.from_numpy(images(16, seed=1)).chunk(2)))
    return network


def images(count: int = 8, seed: int = 2) -> Floats:
    pictures = synthetic.images(count, size=(SIDE, SIDE), seed=seed)
    return np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 64 - 2 for picture in pictures])


def layout(channels: int = 16) -> Layout:
    return Layout(channels, SIDE // 4, SIDE // 4)


def checked(network: nn.Module, layer: str, channels: int) -> Sanity:
    found = sanity.check(network, layer, images(), layout(channels))
    assert found is not None
    return found


# -------------------------------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize("logits", [1, 3])
def test_a_map_that_ignores_learned_weights_is_not_sensitive(logits: int) -> None:
    torch.manual_seed(0)
    found = checked(EdgeCounter(logits).eval(), "edges", 2)
    assert not found.sensitive
    assert (found.images, found.layers, [stage.layers for stage in found.stages]) == (8, 2, [1, 2])
    for stage in found.stages:
        assert [stage.signed, stage.absolute] == pytest.approx([1, 1])


@pytest.mark.parametrize("logits", [1, 3])
def test_an_ordinary_network_is_sensitive(logits: int) -> None:
    found = checked(convolutions(logits), "0", 16)
    assert found.sensitive
    assert (found.images, found.layers, [stage.layers for stage in found.stages]) == (8, 4, [1, 2, 4])
    assert max(abs(found.stages[-1].signed), abs(found.stages[-1].absolute)) < 0.4


def test_a_negated_map_is_not_sensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign of the random network's logit is chance: where the map is hot and cold is still the same."""
    network, turns, plain = EdgeCounter().eval(), iter((1, -1, -1)), reference.explain

    def turned(*args: object, **kwargs: object) -> reference.Reference:
        found = plain(*args, **kwargs)  # type: ignore[arg-type]
        return reference.Reference(found.logits, found.gradient, next(turns) * found.signed_map, found.heat)

    monkeypatch.setattr(reference, "explain", turned)
    found = checked(network, "edges", 2)
    assert not found.sensitive
    assert found.stages[-1].signed == pytest.approx(-1)


def test_weights_are_randomized_from_the_logits_down(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def noted(network: nn.Module, layers: list[list[nn.Parameter]], images: list[torch.Tensor], *, seed: int) -> object:
        drawn.append([id(layer[0]) for layer in layers])
        return randomized(network, layers, images, seed=seed)

    monkeypatch.setattr(sanity, "randomized", noted)
    network = convolutions()
    checked(network, "0", 16)
    runs = [id(network.get_parameter(f"{name}.weight")) for name in ("0.0", "0.3", "0.6", "3")]
    assert drawn == [runs[-1:], runs[-2:], runs]


def test_the_originals_predicted_class_is_explained_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, plain = [], reference.explain

    def noted(network: nn.Module, layer: str, image: torch.Tensor, classes: list[int] | None, **more: Layout) -> object:
        asked.append(classes)
        return plain(network, layer, image, classes, **more)

    network = convolutions()
    with torch.no_grad():
        predicted = network(torch.from_numpy(images())).argmax(dim=1).tolist()
    monkeypatch.setattr(reference, "explain", noted)
    checked(network, "0", 16)
    assert asked == [None, *[predicted] * 3]
    assert len(set(predicted)) > 1


def test_the_explanations_of_the_proof_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network, made, plain = convolutions(), [], reference.explain
    expected = checked(network, "0", 16)
    originals = explain_reference(network, "0", images(12), layout())

    def noted(*args: object, **options: object) -> object:
        made.append(args)
        return plain(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(reference, "explain", noted)
    found = sanity.check(network, "0", images(), layout(), originals=originals)

    assert len(made) == 3, "one for each stage of random weights"
    assert found is not None
    assert found.images == expected.images
    for ours, theirs in zip(found.stages, expected.stages, strict=True):
        assert [ours.signed, ours.absolute] == pytest.approx([theirs.signed, theirs.absolute], abs=1e-3)


def test_returns_none_without_weights_or_with_flat_maps() -> None:
    bare = nn.Sequential(Edges(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert sanity.check(bare, "0", images(), layout(2)) is None
    assert sanity.check(convolutions(), "0", np.zeros_like(images()), layout()) is not None
    assert sanity.check(EdgeCounter().eval(), "edges", np.zeros_like(images()), layout(2)) is None


def test_the_same_network_has_the_same_verdict() -> None:
    assert checked(convolutions(), "0", 16) == checked(convolutions(), "0", 16)


# --------------------------------------------------------------------------------------------------- rank correlation


def slow_ranks(values: Floats) -> list[float]:
    """Each value's rank from 1, equal values sharing their mean rank."""
    return [sum(values < value) + (sum(values == value) + 1) / 2 for value in values]


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=12))
def test_spearman_is_pearsons_correlation_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs, np.float32).T
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        assert sanity.spearman(one, other) == 0
    else:
        expected = np.corrcoef(slow_ranks(one), slow_ranks(other))[0, 1]
        assert sanity.spearman(one, other) == pytest.approx(expected, abs=1e-9)


def test_a_map_that_is_not_finite_has_correlation_zero() -> None:
    assert sanity.spearman(np.array([1, 2, 3], np.float32), np.array([1, 2, np.nan], np.float32)) == 0
    assert sanity.spearman(np.array([1, 2, 3], np.float32), np.array([1, 2, 3], np.float32)) == pytest.approx(1)


# ----------------------------------------------------------------------------------------------------- random weights


def named(network: nn.Module) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    layers = weight_layers(network, torch.from_numpy(images(2)))
    return [[names[id(parameter)] for parameter in layer] for layer in layers]


def test_layers_are_in_the_order_in_which_they_run() -> None:
    assert named(Backwards().eval()) == [
        ["stem.weight", "stem.bias", "norm.weight", "norm.bias"],
        ["head.weight", "head.bias"],
    ]


def test_parameters_of_a_transformer_are_in_running_order() -> None:
    layers = named(VisionTransformer(SIDE, 16, 1, 2, 16, 32, num_classes=3).eval())
    inside = "encoder.layers.encoder_layer_0."
    assert [layer[0].removeprefix(inside) for layer in layers] == [
        "class_token",
        "conv_proj.weight",
        "encoder.pos_embedding",
        "self_attention.in_proj_weight",
        "self_attention.out_proj.weight",
        "mlp.0.weight",
        "mlp.3.weight",
        "heads.head.weight",
    ]


def test_an_exported_program_is_randomized_and_restored(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    batch = torch.from_numpy(images())
    network = convolutions()
    torch.export.save(torch.export.export(network, (batch,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), path)
    program = exported_program.load_program(path)
    assert len(weight_layers(program, batch)) == 4
    with torch.no_grad(), randomized(program, weight_layers(program, batch), [batch], seed=0):
        assert not torch.allclose(program(batch), network(batch), atol=0.1)
    with torch.no_grad():
        assert torch.allclose(program(batch), network(batch), atol=1e-5)


def test_weights_are_restored_after_an_error() -> None:
    network, batch = convolutions(), torch.from_numpy(images())
    before = copy.deepcopy(network.state_dict())
    momenta = [module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)]

    def fail() -> None:
        with randomized(network, weight_layers(network, batch), [batch], seed=0):
            assert not torch.equal(network.state_dict()["3.weight"], before["3.weight"])
            assert not any(module.training for module in network.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert [module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)] == momenta


def test_only_the_given_layers_are_randomized_at_their_original_scale() -> None:
    network, batch = convolutions(), torch.from_numpy(images())
    before = copy.deepcopy(network.state_dict())
    with randomized(network, weight_layers(network, batch)[-2:], [batch], seed=0):
        within = copy.deepcopy(network.state_dict())
    with randomized(network, weight_layers(network, batch)[-2:], [batch], seed=0):
        assert all(torch.equal(value, within[key]) for key, value in network.state_dict().items())
    changed = {key for key, value in within.items() if not torch.equal(value, before[key])}
    assert {"3.weight", "3.bias", "0.6.weight", "0.6.bias", "0.7.running_mean", "0.7.running_var"} <= changed
    assert not {key for key in changed if key.startswith(("0.0.", "0.1.", "0.3.", "0.4."))}
    size = within["0.6.weight"].square().mean() / before["0.6.weight"].square().mean()
    assert size == pytest.approx(1, abs=0.1)


def test_a_randomized_deep_network_still_tells_images_apart() -> None:
    torch.manual_seed(1)
    deep = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4, 1),
        *[nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(40)],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()
    batch = torch.from_numpy(images())
    with torch.no_grad(), randomized(deep, weight_layers(deep, batch), [batch], seed=0):
        spread = deep(batch).std(dim=0)
    assert (spread > 1e-3).all()

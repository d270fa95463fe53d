"""Graphs of real exporters answer as ONNX Runtime does, for any number of images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from heatlens.errors import ModelFileError
from heatlens_torch.loading.onnx_files.batch import learn_batch
from heatlens_torch.loading.onnx_files.network import OnnxNetwork
from heatlens_torch.loading.onnx_files.read import read_model
from heatlens_torch.loading.onnx_files.signature import Signature, read_signature
from tests.support.onnx_models import SIDE, export, graph, keras_like, small

IMAGES = np.random.default_rng(1).standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)


def network_of(path: Path) -> OnnxNetwork:
    model = read_model(path)
    network = OnnxNetwork(model, read_signature(model, path.name), path.name).eval()
    learn_batch(network, (3, SIDE, SIDE))
    return network


def of_file(path: Path, signature: Signature) -> npt.NDArray[np.float32]:
    """What the file answers, image by image."""
    session = onnxruntime.InferenceSession(path)
    images = IMAGES.transpose(0, 2, 3, 1) if signature.channels_last else IMAGES
    parts = [session.run(None, {signature.image: np.ascontiguousarray(images[i : i + 1])})[0] for i in range(3)]
    return np.concatenate(parts)


def difference(path: Path) -> float:
    network = network_of(path)
    with torch.no_grad():
        ours = network(torch.from_numpy(IMAGES)).numpy()
    theirs = of_file(path, network.signature)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


class Tokens(nn.Module):
    """A transformer's layer with a class token, as torchvision's ViT has it: torch's attention turns the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute logits `[B,K]`."""
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(image), -1, -1), tokens], 1)
        normal = self.norm(tokens)
        logits: torch.Tensor = self.head((tokens + self.attention(normal, normal, normal, need_weights=False)[0])[:, 0])
        return logits


def tokens() -> nn.Module:
    torch.manual_seed(0)
    return Tokens().eval()


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("make", [small, tokens])
def test_a_file_for_one_image_takes_several(tmp_path: Path, make: Callable[[], nn.Module], dynamo: bool) -> None:  # noqa: FBT001
    assert difference(export(make(), tmp_path / "a.onnx", dynamo=dynamo)) < 1e-5


def test_what_keras_writes_is_computed(tmp_path: Path) -> None:
    assert difference(keras_like(tmp_path / "a.onnx", normalizes=True)) < 1e-5


def test_an_attention_is_one_module_with_its_nodes_inside(tmp_path: Path) -> None:
    network = network_of(export(tokens(), tmp_path / "a.onnx"))
    inside = [name for name, _ in network.named_modules() if name.startswith("attention_0.")]

    assert any("Softmax" in name for name in inside)
    assert not any("Softmax" in name for name, _ in network.named_children())


def test_the_places_of_one_batch_are_a_shape() -> None:
    """torch's exporter writes a change of strides as a Gather by places in memory."""
    nodes = [
        helper.make_node("Reshape", ["image", "flat"], ["values"], "flatten"),
        helper.make_node("Gather", ["values", "places"], ["again"], "strides"),
        helper.make_node("ReduceMean", ["again"], ["out"], "mean", axes=[2, 3], keepdims=0),
    ]
    places = np.arange(3 * SIDE * SIDE).reshape(1, 3, SIDE, SIDE)
    model = graph(nodes, {"flat": np.array([-1]), "places": places}, shape=(1, 3, SIDE, SIDE))
    network = OnnxNetwork(model, read_signature(model, "a.onnx"), "a.onnx").eval()
    learn_batch(network, (3, SIDE, SIDE))

    found = network(torch.from_numpy(IMAGES))

    assert torch.allclose(found, torch.from_numpy(IMAGES.mean((2, 3))), atol=1e-6)


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ("", "architecture: a.onnx: the operator RoiAlign (node 'roi') has no conversion to torch here"),
        ("com.microsoft", "architecture: a.onnx: the operator com.microsoft.RoiAlign (node 'roi') has no conversion"),
    ],
)
def test_an_operator_without_conversion_is_named(domain: str, message: str) -> None:
    node = helper.make_node("RoiAlign", ["image", "image", "image"], ["out"], "roi", domain=domain)
    model = graph([node], domains=(domain,) if domain else ())

    with pytest.raises(ModelFileError) as caught:
        OnnxNetwork(model, read_signature(model, "a.onnx"), "a.onnx")
    assert str(caught.value).startswith(message)


def test_names_are_those_of_the_nodes_without_dots() -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["a"], "/layer1/layer1.0/Relu"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["out"], "forward"),
    ]
    model = graph(nodes)
    network = OnnxNetwork(model, read_signature(model, "a.onnx"), "a.onnx")

    assert [name for name, _ in network.named_children()] == ["layer1/layer1_0/Relu", "Relu_1", "forward_2"]


def test_a_larger_example_batch_is_made_dynamic(tmp_path: Path) -> None:
    path = export(tokens(), tmp_path / "a.onnx", shape=(2, 3, SIDE, SIDE))
    network = network_of(path)
    session = onnxruntime.InferenceSession(path)
    theirs = session.run(None, {"image": IMAGES[:2]})[0]

    with torch.no_grad():
        ours = network(torch.from_numpy(IMAGES)).numpy()

    assert np.abs(ours[:2] - theirs).max() < 1e-5 * np.abs(theirs).max()

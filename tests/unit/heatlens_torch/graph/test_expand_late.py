"""A transposed convolution that is expanded and scaled: OpenVINO, ONNX Runtime and autograd must agree."""

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from heatlens.types import Floats, Indices
from heatlens_torch.graph.expand_late import expand_late
from heatlens_torch.graph.export import export
from heatlens_torch.graph.probe import probe
from tests.functional.compile.test_compile import worst

SIDE = 4
node = helper.make_node
TRANSPOSED = node("ConvTranspose", ["x", "w"], ["there"])
EXPANDED = node("Expand", ["there", "shape"], ["wide"])
GRAPHS = {
    "the gradient of a mean": [TRANSPOSED, EXPANDED, node("Div", ["wide", "count"], ["y"])],
    "scaled by channel": [TRANSPOSED, EXPANDED, node("Mul", ["wide", "scale"], ["y"])],
    "added to": [TRANSPOSED, EXPANDED, node("Add", ["scale", "wide"], ["y"])],
    "scaled twice": [
        *(TRANSPOSED, EXPANDED, node("Div", ["wide", "count"], ["mean"])),
        node("Mul", ["scale", "mean"], ["y"]),
    ],
    "used twice": [
        *(TRANSPOSED, EXPANDED, node("Div", ["wide", "count"], ["mean"])),
        *(node("Tanh", ["wide"], ["bent"]), node("Add", ["mean", "bent"], ["y"])),
    ],
}
# In this graph the second use keeps OpenVINO from merging the first one.
LUCKY = ("used twice",)


def drawn(*shape: int) -> Floats:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def model_of(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    weights = {
        "w": drawn(12, 20, 1, 1),
        "shape": np.array([1, 1, SIDE, SIDE]),
        "count": np.float32(SIDE * SIDE),
        "scale": drawn(1, 20, 1, 1),
    }
    graph = helper.make_graph(
        nodes,
        "expanded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 12, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 20, SIDE, SIDE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def by_openvino(model: onnx.ModelProto, *values: Floats | Indices) -> Floats:
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    answer: Floats = compiled(list(values))[len(compiled.outputs) - 1]
    return answer


def by_onnx_runtime(model: onnx.ModelProto, *values: Floats | Indices) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: Floats = session.run(
        None, {given.name: value for given, value in zip(session.get_inputs(), values, strict=True)}
    )[-1]
    return answer


@pytest.mark.parametrize("name", GRAPHS)
def test_constants_are_applied_before_the_map_is_expanded(name: str) -> None:
    x, model = drawn(3, 12, 1, 1), model_of(GRAPHS[name])
    expected = by_onnx_runtime(model, x)
    before = worst(by_openvino(model, x), expected)

    expand_late(model)

    onnx.checker.check_model(model)
    assert worst(by_onnx_runtime(model, x), expected) < 1e-6
    assert worst(by_openvino(model, x), expected) < 1e-5
    if name not in LUCKY:
        assert before > 0.1, "OpenVINO expands and scales rightly now: heatlens_torch/graph/expand_late.py can go"


def test_a_constant_that_is_expanded_stays() -> None:
    model = model_of([TRANSPOSED, node("Expand", ["scale", "shape"], ["wide"]), node("Add", ["there", "wide"], ["y"])])
    before = model.SerializeToString(deterministic=True)

    expand_late(model)

    assert model.SerializeToString(deterministic=True) == before


class Pooled(nn.Module):
    """The end of MobileNetV3: pool, 1x1 convolution, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 12, 1), nn.Hardswish())
        self.linear = nn.Linear(12, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(self.head(self.norm(self.features(image))).flatten(1))
        return logits


def test_three_witnesses_agree_on_a_pooled_tail() -> None:
    torch.manual_seed(0)
    network = Pooled().eval()
    image = torch.randn(3, 3, 32, 32)

    [graphs] = export(network, {"features": probe(network, "features", image)}, (32, 32))

    activation = network.features(image)
    logits = network.linear(network.head(network.norm(activation)).flatten(1))
    [gradient] = torch.autograd.grad(logits[:, 1].sum(), activation)
    given = activation.detach().numpy(), np.array([[0, 1, 0]] * 3, np.float32), np.arange(3)
    assert worst(by_onnx_runtime(graphs.tail, *given), gradient.numpy()) < 1e-5
    assert worst(by_openvino(graphs.tail, *given), gradient.numpy()) < 1e-5

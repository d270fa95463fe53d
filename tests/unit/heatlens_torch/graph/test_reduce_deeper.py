"""A reduction of tokens, scaled by channel: OpenVINO, ONNX Runtime and autograd must agree."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference
from torch import nn

from heatlens.types import Floats
from heatlens_torch.graph.export import export
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.graph.probe import probe
from heatlens_torch.graph.reduce_deeper import reduce_deeper
from heatlens_torch.proof.open_engine import open_engine
from tests.functional.compile.test_compile import worst
from tests.unit.heatlens_torch.graph.test_expand_late import by_openvino

CHANNELS, TOKENS = 20, 6
node = helper.make_node
LAST, MIDDLE = {"axis": np.array([2])}, {"axis": np.array([1])}
TURNED = node("Transpose", ["x"], ["turned"], perm=[0, 2, 1])
SCALED = node("Mul", ["m", "scale"], ["y"])
GRAPHS = {
    "a mean, scaled": ([node("ReduceMean", ["x", "axis"], ["m"], keepdims=0), SCALED], LAST),
    "a sum, shifted": ([node("ReduceSum", ["x", "axis"], ["m"], keepdims=0), node("Add", ["scale", "m"], ["y"])], LAST),
    "from behind": ([node("ReduceMax", ["x", "axis"], ["m"], keepdims=0), SCALED], {"axis": np.array([-1])}),
    "with its dimension": (
        [node("ReduceMean", ["x", "axis"], ["m"], keepdims=1), node("Mul", ["m", "upright"], ["y"])],
        LAST,
    ),
    "behind an activation": (
        [node("ReduceMean", ["x", "axis"], ["n"], keepdims=0), node("Relu", ["n"], ["m"]), SCALED],
        LAST,
    ),
    "of tokens": ([TURNED, node("ReduceMean", ["turned", "axis"], ["m"], keepdims=0), SCALED], MIDDLE),
}


def drawn(*shape: int) -> Floats:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def model_of(nodes: list[onnx.NodeProto], **constants: object) -> onnx.ModelProto:
    weights = {"scale": drawn(CHANNELS), "upright": drawn(CHANNELS, 1)} | constants
    graph = helper.make_graph(
        nodes,
        "reduced",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", CHANNELS, TOKENS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return shape_inference.infer_shapes(model)


def by_onnx_runtime(model: onnx.ModelProto, value: Floats) -> Floats:
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # some weights of these graphs are not used
    session = onnxruntime.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    answer: Floats = session.run(None, {"x": value})[0]
    return answer


@pytest.mark.parametrize("name", GRAPHS)
def test_a_scaled_reduction_has_a_dimension_more(name: str) -> None:
    nodes, constants = GRAPHS[name]
    model, x = model_of(nodes, **constants), drawn(3, CHANNELS, TOKENS)
    expected = by_onnx_runtime(model, x)
    assert worst(by_openvino(model, x), expected) > 1e-2, "else heatlens_torch/graph/reduce_deeper.py can go"

    reduce_deeper(model)

    onnx.checker.check_model(model)
    assert worst(by_onnx_runtime(model, x), expected) < 1e-6
    assert worst(by_openvino(model, x), expected) < 1e-6


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ReduceMean", ["x", "axis"], ["m"], keepdims=0), node("Mul", ["m", "one"], ["y"])],
        [node("ReduceMean", ["x", "axis"], ["m"], keepdims=1), node("Sub", ["x", "m"], ["y"])],
    ],
    ids=["a number", "no constant"],
)
def test_other_reductions_stay(nodes: list[onnx.NodeProto]) -> None:
    model = model_of(nodes, one=np.float32(2), **LAST)
    before = model.SerializeToString(deterministic=True)

    reduce_deeper(model)

    assert model.SerializeToString(deterministic=True) == before


class Tokens(nn.Module):
    """A mean of tokens before a BatchNorm, as in LeViT."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, CHANNELS, 4, stride=4)
        self.norm, self.head = nn.BatchNorm1d(CHANNELS), nn.Linear(CHANNELS, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.body(image).flatten(2).transpose(1, 2)
        logits: torch.Tensor = self.head(self.norm(tokens.mean(dim=1)))
        return logits


def test_logits_of_a_network_that_normalizes_the_mean_of_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, image = Tokens().eval(), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        network.norm.running_mean.normal_()  # type: ignore[union-attr]
    [graphs] = export(network, {"body": probe(network, "body", image)}, (16, 16))
    trunk, tail = write_graph(graphs.trunk, tmp_path / "trunk.onnx"), write_graph(graphs.tail, tmp_path / "tail.onnx")
    engine = open_engine(tmp_path, "body", trunk, tail)

    logits, _ = engine.tail(engine.trunk(image.numpy()), np.zeros((3, 3), np.float32))

    assert worst(logits, network(image).detach().numpy()) < 1e-5

"""Weights that are used both ways, executed by OpenVINO, compared with PyTorch."""

from collections.abc import Callable

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from heatlens_torch.graph.untie_weights import untie_transposed_weights
from tests.functional.compile.test_compile import worst

node = helper.make_node
TURN = node("Transpose", ["w"], ["t"], perm=[1, 0])
MULTIPLY = [node("MatMul", ["x", "w"], ["there"]), TURN, node("MatMul", ["there", "t"], ["y"])]
CONVOLVE = [node("Conv", ["x", "w"], ["there"]), node("ConvTranspose", ["there", "w"], ["y"])]
Way = Callable[[Tensor, Tensor], Tensor]
GRAPHS: dict[str, tuple[tuple[int, ...], list[onnx.NodeProto], Way]] = {
    "a matrix and its transpose": ((12, 12), MULTIPLY, lambda x, w: x @ w @ w.T),
    "Gemm's own transpose": (
        (12, 12),
        [node("Gemm", ["x", "w"], ["there"], transB=1), node("MatMul", ["there", "w"], ["y"])],
        lambda x, w: x @ w.T @ w,
    ),
    "turned twice": (
        (12, 12),
        [*MULTIPLY[:2], node("MatMul", ["there", "t"], ["back"]), node("Gemm", ["back", "w"], ["y"], transB=1)],
        lambda x, w: x @ w @ w.T @ w.T,
    ),
    "a convolution and its transpose": (
        (12, 12, 3, 3),
        CONVOLVE,
        lambda x, w: functional.conv_transpose2d(functional.conv2d(x, w), w),
    ),
    "in groups": (
        (12, 3, 3, 3),
        [node("Conv", ["x", "w"], ["there"], group=4), node("ConvTranspose", ["there", "w"], ["y"], group=4)],
        lambda x, w: functional.conv_transpose2d(functional.conv2d(x, w, groups=4), w, groups=4),
    ),
}

# Two different kernels of this release's OpenVINO happen to want two different forms of it.
LUCKY = ("in groups",)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def model_of(weight: Tensor, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    shape: list[str | int | None] = ["B", 12, *[6] * (weight.dim() - 2)]
    graph = helper.make_graph(
        nodes,
        "both ways",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight.numpy(), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def difference(model: onnx.ModelProto, weight: Tensor, way: Way) -> float:
    """How far OpenVINO is from PyTorch."""
    x = drawn(5, 12, *[6] * (weight.dim() - 2))
    core = ov.Core()
    graph = core.read_model(model.SerializeToString())
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return worst(compiled([x.numpy()])[0].astype(np.float32), way(x, weight).numpy())


@pytest.mark.parametrize("name", GRAPHS)
def test_transposed_uses_get_a_second_constant(name: str) -> None:
    shape, nodes, way = GRAPHS[name]
    weight = drawn(*shape)
    model = model_of(weight, nodes)
    before = difference(model, weight, way)

    untie_transposed_weights(model)

    onnx.checker.check_model(model)
    assert difference(model, weight, way) < 1e-5
    if name not in LUCKY:
        assert before > 0.1, "OpenVINO packs each direction by itself now: heatlens_torch/graph/untie_weights.py can go"
    assert [each.name for each in model.graph.initializer] == ["w", "w.turned"]
    assert not [each for each in model.graph.node if each.op_type == "Transpose"]


@pytest.mark.parametrize(("name", "shape"), [("a matrix and its transpose", (12, 20)), ("in groups", (24, 3, 3, 3))])
def test_weights_whose_shape_changes_when_transposed_stay_shared(name: str, shape: tuple[int, ...]) -> None:
    """The two ways have different shapes."""
    _, nodes, way = GRAPHS[name]
    weight = drawn(*shape)
    model = model_of(weight, nodes)
    before = model.SerializeToString(deterministic=True)

    untie_transposed_weights(model)

    assert model.SerializeToString(deterministic=True) == before
    assert difference(model, weight, way) < 1e-5


def test_a_weight_used_one_way_is_unchanged() -> None:
    nodes = [TURN, node("MatMul", ["x", "t"], ["y"])]
    model = model_of(drawn(12, 12), nodes)
    before = model.SerializeToString(deterministic=True)

    untie_transposed_weights(model)

    assert model.SerializeToString(deterministic=True) == before

"""A reshape, a transpose and a reshape with the batch in second place: OpenVINO must compile them."""

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from heatlens_torch.graph.no_shuffle import unshuffle
from tests.unit.heatlens_torch.graph.test_expand_late import by_onnx_runtime, by_openvino

HEADS, TOKENS, DIM = 3, 5, 4


def rearranged(shape: list[int], order: list[int], width: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Reshape", ["x", "apart"], ["parts"]),
        helper.make_node("Transpose", ["parts"], ["turned"], perm=order),
        helper.make_node("Reshape", ["turned", "together"], ["y"]),
    ]
    sizes = {"apart": np.array(shape), "together": np.array([-1, width])}
    graph = helper.make_graph(
        nodes,
        "rearranged",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", HEADS, TOKENS, DIM])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", width])],
        [numpy_helper.from_array(value, name) for name, value in sizes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_batch_in_second_place_is_no_shuffle_of_channels() -> None:
    model = rearranged([3, -1, HEADS, TOKENS, DIM], [1, 3, 0, 2, 4], 3 * HEADS * DIM)
    x = np.random.default_rng(0).normal(size=(6, HEADS, TOKENS, DIM)).astype(np.float32)
    expected = by_onnx_runtime(model, x)
    with pytest.raises(RuntimeError, match="ShuffleChannelsFusion"):  # else heatlens_torch/graph/no_shuffle.py can go
        ov.Core().compile_model(ov.Core().read_model(model.SerializeToString()), "CPU")

    unshuffle(model)

    onnx.checker.check_model(model)
    assert np.array_equal(by_onnx_runtime(model, x), expected)
    assert np.array_equal(by_openvino(model, x), expected)


def test_a_shuffle_of_channels_stays() -> None:
    model = rearranged([-1, 3, 1, TOKENS, DIM], [0, 2, 1, 3, 4], HEADS * TOKENS * DIM)
    before = model.SerializeToString(deterministic=True)

    unshuffle(model)

    assert model.SerializeToString(deterministic=True) == before

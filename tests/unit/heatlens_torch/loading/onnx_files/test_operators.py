"""Operators compute what ONNX Runtime computes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from onnx import NodeProto, helper

from heatlens.errors import ModelFileError
from heatlens_torch.loading.onnx_files.network import OnnxNetwork
from heatlens_torch.loading.onnx_files.signature import read_signature
from tests.support.onnx_models import graph

RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((2, 4, 9, 9)).astype(np.float32)
WEIGHT = RNG.standard_normal((6, 4, 3, 3)).astype(np.float32)
FOUR = np.array([0.5, 1.5, 2.5, 3.5], np.float32)

CASES: list[tuple[str, dict[str, Any], list[npt.ArrayLike], int]] = [
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [WEIGHT], 17),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [WEIGHT[:, :, :2, :2]], 17),
    ("Conv", {"pads": [0, 1, 2, 1], "group": 2}, [WEIGHT[:, :2]], 17),
    ("ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, [WEIGHT[:4]], 17),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, [], 17),
    ("AveragePool", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}, [], 17),
    ("AveragePool", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1}, [], 17),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}, [], 17),
    ("GlobalMaxPool", {}, [], 17),
    ("LRN", {"size": 3}, [], 17),
    ("InstanceNormalization", {}, [FOUR, FOUR], 17),
    ("GroupNormalization", {"num_groups": 2}, [np.array([1, 2], np.float32), np.array([3, 4], np.float32)], 18),
    ("GroupNormalization", {"num_groups": 2}, [FOUR, FOUR], 21),
    ("LayerNormalization", {"axis": 2}, [np.ones((9, 9), np.float32)], 17),
    ("HardSigmoid", {}, [], 17),
    ("HardSwish", {}, [], 17),
    ("Gelu", {"approximate": "tanh"}, [], 20),
    ("Clip", {}, [np.array(0, np.float32), np.array(6, np.float32)], 17),
    ("Clip", {"min": -0.5, "max": 0.5}, [], 6),
    ("PRelu", {}, [FOUR.reshape(4, 1, 1)], 17),
    ("Softmax", {"axis": 1}, [], 11),
    ("Softmax", {"axis": 1}, [], 13),
    ("LogSoftmax", {}, [], 13),
    ("ReduceMean", {"axes": [2, 3], "keepdims": 0}, [], 13),
    ("ReduceMean", {"keepdims": 0}, [np.array([2, 3])], 18),
    ("ReduceL2", {"axes": [1]}, [], 13),
    ("ReduceProd", {"axes": [1, 3]}, [], 13),
    ("Pad", {}, [np.array([0, 0, 1, 2, 0, 0, 3, 4]), np.array(1.5, np.float32)], 17),
    ("Pad", {"mode": "reflect"}, [np.array([0, 0, 1, 2, 0, 0, 3, 4])], 17),
    ("Pad", {}, [np.array([1, 2]), np.array(0, np.float32), np.array([3])], 18),
    ("Slice", {}, [np.array([8]), np.array([0]), np.array([3]), np.array([-2])], 17),
    ("Slice", {"starts": [1], "ends": [-1], "axes": [2]}, [], 9),
    ("Gather", {"axis": 1}, [np.array([[3, -4], [0, 1]])], 17),
    ("Gather", {"axis": 2}, [np.array(-1)], 17),
    ("DepthToSpace", {"blocksize": 2}, [], 17),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, [], 17),
    ("Resize", {"mode": "linear"}, ["", np.array([1, 1, 2, 2], np.float32)], 17),
    ("Resize", {"coordinate_transformation_mode": "asymmetric"}, ["", "", np.array([2, 4, 18, 18])], 17),
    ("Transpose", {}, [], 17),
    ("Expand", {}, [np.array([3, 1, 1, 1, 1])], 17),
    ("Einsum", {"equation": "bchw,c->bhw"}, [FOUR], 17),
    ("Flatten", {"axis": 2}, [], 17),
    ("Tile", {}, [np.array([1, 1, 2, 1])], 17),
    ("Pow", {}, [np.array(2, np.float32)], 17),
    ("ThresholdedRelu", {"alpha": 0.5}, [], 17),
]


def answers(node: NodeProto, constants: dict[str, npt.NDArray[Any]], opset: int) -> tuple[Any, Any]:
    model = graph([node], constants, shape=("n", 4, 9, 9), opset=opset)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    network = OnnxNetwork(model, read_signature(model, "a.onnx"), "a.onnx").eval()
    with torch.no_grad():
        return network(torch.from_numpy(IMAGE)).numpy(), session.run(None, {"image": IMAGE})[0]


@pytest.mark.parametrize(
    ("kind", "attributes", "values", "opset"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)]
)
def test_an_operator_is_onnx_runtimes(
    kind: str, attributes: dict[str, Any], values: list[npt.ArrayLike], opset: int
) -> None:
    constants = {f"c{i}": np.asarray(value) for i, value in enumerate(values) if not isinstance(value, str)}
    inputs = [f"c{i}" if not isinstance(value, str) else "" for i, value in enumerate(values)]
    ours, theirs = answers(helper.make_node(kind, ["image", *inputs], ["out"], **attributes), constants, opset)

    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_a_split_has_its_parts() -> None:
    model = graph(
        [
            helper.make_node("Split", ["image"], ["a", "b"], "split", axis=1),
            helper.make_node("Sub", ["a", "b"], ["out"], "sub"),
        ],
        shape=("n", 4, 9, 9),
        opset=13,
    )
    network = OnnxNetwork(model, read_signature(model, "a.onnx"), "a.onnx")

    assert np.array_equal(network(torch.from_numpy(IMAGE)).numpy(), IMAGE[:, :2] - IMAGE[:, 2:])


def test_a_form_that_is_not_known_is_refused_with_the_node() -> None:
    node = helper.make_node("AveragePool", ["image"], ["out"], "pool", kernel_shape=[2, 2], dilations=[2, 2])
    model = graph([node], shape=("n", 4, 9, 9), opset=19)
    network = OnnxNetwork(model, read_signature(model, "a.onnx"), "a.onnx")

    with pytest.raises(ModelFileError) as caught:
        network(torch.from_numpy(IMAGE))
    assert str(caught.value) == "architecture: AveragePool (node 'pool') is not supported: it has dilations"

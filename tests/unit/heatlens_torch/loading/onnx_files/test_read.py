"""A file is read as data: broken, quantized and reaching files are refused in one sentence."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from heatlens.errors import ModelFileError
from heatlens_torch.loading.onnx_files.read import read_model
from tests.support.onnx_models import export, graph, small


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def relu() -> onnx.NodeProto:
    return helper.make_node("Relu", ["image"], ["out"], "relu")


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    whole = read_model(export(small(), tmp_path / "whole.onnx"))
    weights = [numpy_helper.to_array(tensor) for tensor in whole.graph.initializer]
    onnx.save(whole, tmp_path / "a.onnx", save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    assert (tmp_path / "a.onnx.data").stat().st_size > 1000

    apart = read_model(tmp_path / "a.onnx")

    for one, two in zip(weights, apart.graph.initializer, strict=True):
        assert np.array_equal(one, numpy_helper.to_array(two))


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "inner/data", "link", ""])
def test_weights_elsewhere_are_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "model" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "model" / "inner").mkdir()
    (tmp_path / "model" / "inner" / "data").write_bytes(bytes(64))
    model = graph([helper.make_node("Add", ["image", "w"], ["out"])], {"w": np.zeros(4, np.float32)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    (tmp_path / "model" / "a.onnx").write_bytes(model.SerializeToString())

    assert refusal(tmp_path / "model" / "a.onnx") == (
        f"weights: a.onnx reads its weights from {place!r}, and only files in its own folder are read"
    )


def test_missing_weights_are_named(tmp_path: Path) -> None:
    onnx.save(
        read_model(export(small(), tmp_path / "whole.onnx")),
        tmp_path / "a.onnx",
        save_as_external_data=True,
        location="a.onnx.data",
        size_threshold=0,
    )
    (tmp_path / "a.onnx.data").unlink()

    assert refusal(tmp_path / "a.onnx") == (
        "weights: a.onnx has its weights in a.onnx.data, which is missing or too short: keep both files together"
    )


@pytest.mark.parametrize("data", [b"", b"\x08\x08\x12", b"no protocol buffer", bytes(100)])
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(data)

    assert refusal(tmp_path / "a.onnx").startswith("architecture: a.onnx is no ONNX file: ")


def test_what_the_checker_says_is_one_sentence(tmp_path: Path) -> None:
    model = graph([helper.make_node("Relu", ["nothing"], ["out"], "relu")], rank=4)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())

    message = refusal(tmp_path / "a.onnx")

    assert message.startswith("architecture: a.onnx is no valid ONNX file: ")
    assert "relu" in message


@pytest.mark.parametrize("kind", ["QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "QLinearAdd"])
def test_a_quantized_graph_is_refused_by_its_node(tmp_path: Path, kind: str) -> None:
    model = graph([helper.make_node(kind, ["image", "scale"], ["out"], "q0")], {"scale": np.array(1, np.float32)})
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())

    assert refusal(tmp_path / "a.onnx") == (
        f"architecture: a.onnx is quantized: {kind} (node 'q0'); rounding has no gradient, so compile the float32 file "
        "that it was made of"
    )


def test_control_flow_is_refused_by_its_node(tmp_path: Path) -> None:
    inner = helper.make_graph([relu()], "then", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)])
    model = graph([helper.make_node("If", ["image"], ["out"], "if0", then_branch=inner, else_branch=inner)])
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())

    assert refusal(tmp_path / "a.onnx") == (
        "architecture: a.onnx has a If (node 'if0'), which depends on the data: export the network for one fixed input"
    )


def test_float16_becomes_float32_with_the_same_weights(tmp_path: Path) -> None:
    weight = np.array([0.1, 0.2, 0.3], np.float16).reshape(1, 3, 1, 1)
    model = graph(
        [
            helper.make_node("Mul", ["image", "w"], ["product"]),
            helper.make_node("Cast", ["product"], ["out"], to=TensorProto.FLOAT16),
        ],
        {"w": weight},
        kind=TensorProto.FLOAT16,
        rank=4,
    )
    onnx.save(model, tmp_path / "a.onnx")

    found = read_model(tmp_path / "a.onnx")

    assert numpy_helper.to_array(found.graph.initializer[0]).dtype == np.float32
    assert np.array_equal(numpy_helper.to_array(found.graph.initializer[0]), weight.astype(np.float32))
    assert found.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert found.graph.node[1].attribute[0].i == TensorProto.FLOAT

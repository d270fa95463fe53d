import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from heatlens_torch.graph.graph_file import write_graph


def model() -> onnx.ModelProto:
    x, y, total = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "y", "sum"))
    return helper.make_model(helper.make_graph([helper.make_node("Add", ["x", "y"], ["sum"])], "g", [x, y], [total]))


def test_the_record_names_the_file_its_digest_its_inputs_and_its_outputs(tmp_path: Path) -> None:
    record = write_graph(model(), tmp_path / "trunk.onnx")

    assert record.file == "trunk.onnx"
    assert record.sha256 == hashlib.sha256((tmp_path / "trunk.onnx").read_bytes()).hexdigest()
    assert (record.inputs, record.outputs) == (("x", "y"), ("sum",))


def test_the_same_graph_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    assert write_graph(model(), tmp_path / "a.onnx").sha256 == write_graph(model(), tmp_path / "b.onnx").sha256
    assert onnx.load(tmp_path / "a.onnx") == model()

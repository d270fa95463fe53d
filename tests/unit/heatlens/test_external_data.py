"""References to other files anywhere in an ONNX file are found; similar values are not mistaken for one."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from heatlens import external_data
from heatlens.card import read_card
from heatlens.errors import CardError
from heatlens.external_data import refers_to_files
from tests.support.tiny import write_tiny_model

VALUES = np.arange(6, dtype=np.float32)


def outside() -> TensorProto:
    """Make a tensor whose values are in another file."""
    tensor = numpy_helper.from_array(VALUES, "weight")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    return tensor


def half_said() -> TensorProto:
    """Make a tensor that is external but has no location."""
    return TensorProto(name="weight", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)


def half_kept() -> TensorProto:
    """Make a tensor that has a location but is not marked external."""
    tensor = outside()
    tensor.ClearField("data_location")
    return tensor


def model_of(graph: onnx.GraphProto, **more: object) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **more)


def holding(tensor: TensorProto) -> dict[str, onnx.ModelProto]:
    """Make models with the tensor in each place that ONNX allows."""
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    several = helper.make_node("Custom", [], ["c"], values=[tensor])
    inner = helper.make_graph([constant], "inner", [], [])
    branch = helper.make_node("If", ["yes"], ["c"], then_branch=inner, else_branch=inner)
    branches = helper.make_node("Custom", [], ["c"], graphs=[inner])
    function = helper.make_function("own", "f", [], ["c"], [constant], [helper.make_opsetid("", 18)])
    sparse = onnx.SparseTensorProto(values=tensor, indices=numpy_helper.from_array(np.arange(6)), dims=[6])
    indexed = onnx.SparseTensorProto(values=numpy_helper.from_array(VALUES), indices=tensor, dims=[6])
    in_node = helper.make_node("Constant", [], ["c"], sparse_value=sparse)
    in_nodes = helper.make_node("Custom", [], ["c"], sparse_values=[sparse])
    graphs = {
        "initializer": helper.make_graph([], "g", [], [], [tensor]),
        "constant": helper.make_graph([constant], "g", [], []),
        "list of tensors": helper.make_graph([several], "g", [], []),
        "branch": helper.make_graph([branch], "g", [], []),
        "list of graphs": helper.make_graph([branches], "g", [], []),
        "sparse initializer": helper.make_graph([], "g", [], [], sparse_initializer=[sparse]),
        "indices": helper.make_graph([], "g", [], [], sparse_initializer=[indexed]),
        "sparse constant": helper.make_graph([in_node], "g", [], []),
        "sparse constants": helper.make_graph([in_nodes], "g", [], []),
    }
    models = {place: model_of(graph) for place, graph in graphs.items()}
    models["function"] = model_of(helper.make_graph([], "g", [], []), functions=[function])
    function.attribute_proto.add().t.CopyFrom(tensor)
    del function.node[:]
    models["function's default"] = model_of(helper.make_graph([], "g", [], []), functions=[function])
    for part in ("initialization", "algorithm"):
        models[part] = model_of(helper.make_graph([], "g", [], []))
        models[part].training_info.add(**{part: inner})
    return models


PLACES = list(holding(outside()))


@pytest.mark.parametrize("place", PLACES)
def test_finds_a_reference_anywhere_in_the_model(place: str) -> None:
    assert refers_to_files(holding(outside())[place].SerializeToString())
    for tensor in (half_said(), half_kept()):
        assert refers_to_files(holding(tensor)[place].SerializeToString())
    assert not refers_to_files(holding(numpy_helper.from_array(VALUES, "weight"))[place].SerializeToString())


def test_values_that_look_like_a_reference_are_ignored() -> None:
    values = np.frombuffer(outside().SerializeToString().ljust(64, b"\0"), np.uint8)
    model = model_of(helper.make_graph([], "location", [], [], [numpy_helper.from_array(values, "external_data")]))

    assert not refers_to_files(model.SerializeToString())


@pytest.mark.parametrize("data", [b"\xff" * 9, b"\x3a\x7f", b"\x3a\x02\x2a\x7f", b"\x3b", b"\x08"])
def test_rejects_files_that_are_not_protocol_buffers(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a protocol buffer"):
        refers_to_files(data)


def repointed(folder: Path, data: bytes) -> None:
    """Write another tail, and its digest into the card."""
    (folder / "tail.onnx").write_bytes(data)
    path = folder / "card.json"
    fields = json.loads(path.read_text())
    fields["layers"][0]["tail"]["sha256"] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(fields))


def test_rejects_a_model_with_weights_outside_its_digests(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    model = onnx.load(folder / "tail.onnx")
    model.graph.initializer[0].CopyFrom(outside())
    repointed(folder, model.SerializeToString())

    with pytest.raises(CardError, match=r"^tail\.onnx keeps weights in files that its card does not cover"):
        read_card(folder)


def test_rejects_a_file_that_is_not_a_graph(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    repointed(folder, b"\xff" * 9)

    with pytest.raises(CardError, match=r"^tail\.onnx is not an ONNX graph"):
        read_card(folder)


def test_weights_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times more weights take no more steps."""
    steps: list[int] = []
    varint = external_data._varint
    monkeypatch.setattr(external_data, "_varint", lambda data, at: steps.append(at) or varint(data, at))  # type: ignore[func-returns-value]
    counts = []
    for size in (10**4, 10**6):
        graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(np.zeros(size, np.float32), "weight")])
        assert not refers_to_files(model_of(graph).SerializeToString())
        counts.append(len(steps))
        steps.clear()

    assert counts[0] == counts[1] < 100

"""Read an ONNX file of a classifier: checked, in float32, with one image going in and one tensor of scores out."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, external_data_helper, numpy_helper

from heatlens.errors import ModelFileError

MOST_BYTES = 2_000_000_000  # of a file and its external data together
QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm", "QAttention")
INTEGER = ("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul")
ML_DOMAIN = "ai.onnx.ml"
CONTROL_FLOW = ("If", "Loop", "Scan")
NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
SENTENCE = 200


def read_model(path: Path) -> ModelProto:
    """Read a file and its external data, which must lie in the same folder, and check it.

    Float16 and double become float32, with the same weights: compiled graphs compute in float32.

    Raises:
        ModelFileError: The file is missing, broken, too large, quantized, or refers to files elsewhere.
    """
    model = _load(path)
    _check_domains(model, path)
    _refuse_quantized(model, path)
    _load_external(model, path)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker raises types of its own and C++'s
        raise ModelFileError(f"architecture: {path.name} is no valid ONNX file: {_sentence(error)}") from error
    to_float32(model)
    return model


def nodes_of(model: ModelProto) -> Iterator[NodeProto]:
    """Yield every node: of the graph, of its functions and of graphs inside nodes."""
    for part in (model.graph, *model.functions):
        yield from _within(part.node)


def describe_node(node: NodeProto) -> str:
    """Name a node for a message."""
    return f"{node.op_type} (node {node.name or (node.output[0] if node.output else '?')!r})"


def to_float32(model: ModelProto) -> None:
    """Turn float16, bfloat16 and double tensors of a model into float32, in place."""
    for tensor in _tensors(model):
        if tensor.data_type in NARROW:
            values = np.asarray(numpy_helper.to_array(tensor)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in nodes_of(model):
        for attribute in node.attribute:
            if node.op_type in ("Cast", "EyeLike") and attribute.name in ("to", "dtype") and attribute.i in NARROW:
                attribute.i = TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type in NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _load(path: Path) -> ModelProto:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelFileError(f"architecture: {path.name} is larger than {MOST_BYTES / 1e9:.0f} GB")
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"architecture: {path.name}: no such readable file") from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError is a type of its library
        raise ModelFileError(f"architecture: {path.name} is no ONNX file: {_sentence(error)}") from error
    if not model.graph.node or not model.opset_import:
        raise ModelFileError(f"architecture: {path.name} is no ONNX file: it has no graph")
    return model


def _load_external(model: ModelProto, path: Path) -> None:
    """Read weights in files beside the model: a plain name in the same folder, no link, and within the size."""
    folder, total = path.parent, 0
    for tensor in _tensors(model):
        if not external_data_helper.uses_external_data(tensor):
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        name = place.get("location", "")
        file = folder / name
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name or file.is_symlink():
            raise ModelFileError(
                f"weights: {path.name} reads its weights from {name!r}, and only files in its own folder are read"
            )
        data = _slice(file, place, path.name)
        total += len(data)
        if total > MOST_BYTES:
            raise ModelFileError(f"weights: {path.name} has more than {MOST_BYTES / 1e9:.0f} GB of weights")
        tensor.raw_data = data
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def _slice(file: Path, place: dict[str, str], name: str) -> bytes:
    try:
        offset, size = int(place.get("offset", 0)), file.stat().st_size
        length = int(place.get("length", size - offset))
        if offset < 0 or length < 0 or offset + length > size or length > MOST_BYTES:
            raise ValueError
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(length)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"weights: {name} has its weights in {file.name}, which is missing or too short: keep both files together"
        ) from error


def _check_domains(model: ModelProto, path: Path) -> None:
    for node in nodes_of(model):
        if node.op_type in CONTROL_FLOW:
            raise ModelFileError(
                f"architecture: {path.name} has a {describe_node(node)}, which depends on the data: export the network "
                "for one fixed input"
            )


def _refuse_quantized(model: ModelProto, path: Path) -> None:
    for node in nodes_of(model):
        if node.op_type.startswith(QUANTIZED) or node.op_type in INTEGER:
            raise ModelFileError(
                f"architecture: {path.name} is quantized: {describe_node(node)}; rounding has no gradient, so compile "
                "the float32 file that it was made of"
            )


def _within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _within(graph.node)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    graphs: list[GraphProto] = [model.graph]
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs
    for graph in graphs:
        yield from graph.initializer


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines or [type(error).__name__])[:SENTENCE].rstrip(".")

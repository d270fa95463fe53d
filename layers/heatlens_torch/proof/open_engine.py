"""Open OpenVINO on a layer's graphs, as a server will, and say what it refuses."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import onnx

from heatlens.card import Graph
from heatlens.engines.base import Engine, open_onnx_runtime
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.engines.telemetry import without_telemetry
from heatlens.errors import CompileError, EngineError
from heatlens_torch.errors import INSTEAD, LONGEST_SENTENCE, sentence

# Lines that only name OpenVINO's own sources, or say that there is more.
_PLACES = ("Exception from", "Check 'false' failed", "FrontEnd API failed", "Model wasn't fully converted", "Summary:")
# Operators of ONNX that few networks have, and that engines execute in part only.
_END = "; ONNX Runtime"  # of what OpenVINO says
_UNUSUAL = {
    *("Col2Im", "DeformConv", "DFT", "GridSample", "GRU", "If", "Loop", "LSTM", "NonZero", "RNN", "RoiAlign"),
    *("Scan", "STFT", "Unique"),
}


def open_engines(
    folder: Path, graphs: Mapping[str, tuple[Graph, Graph]]
) -> tuple[Mapping[str, Engine], dict[str, str]]:
    """Open OpenVINO on the trunk and tail of each layer, or ONNX Runtime on all of them if it refuses one.

    Returns:
        The engine of each layer, and what the card says of an engine that refuses them, by its name.

    Raises:
        CompileError: ONNX Runtime cannot take over, as `open_engine` says.
    """
    try:
        return {layer: open_engine(folder, layer, *parts) for layer, parts in graphs.items()}, {}
    except CompileError as error:
        try:
            engines = {layer: open_onnx_runtime(folder, *parts) for layer, parts in graphs.items()}
        except EngineError:
            raise error from error.__cause__
        return engines, {OpenVinoEngine.name: str(error).partition(_END)[0]}


def open_engine(folder: Path, layer: str, trunk: Graph, tail: Graph) -> OpenVinoEngine:
    """Compile both graphs of a layer for this processor.

    Raises:
        CompileError: OpenVINO refuses one; the message has the part of the network, OpenVINO's own words, unusual
            operators of that part, and whether ONNX Runtime refuses it too.
    """
    try:
        return OpenVinoEngine(folder, trunk, tail)
    except EngineError as error:
        refused, part = (trunk, "up to") if f" {trunk.file}" in str(error) else (tail, "after")
        raise CompileError(
            f"{error}, the network {part} {layer!r}: {_words(error)}{_unusual(folder / refused.file)}; "
            f"{_other_engine(folder / refused.file)}; choose another layer; {INSTEAD}"
        ) from error


def _words(error: EngineError) -> str:
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines()]
    said = " ".join(line.lstrip("- ") for line in lines if line and not line.startswith(_PLACES))
    return said if len(said) <= LONGEST_SENTENCE else said[:LONGEST_SENTENCE] + "…"


def _unusual(path: Path) -> str:
    found = sorted({node.op_type for node in onnx.load(path).graph.node} & _UNUSUAL)
    return f" (it has the operator{'s' * (len(found) > 1)} {', '.join(found)})" if found else ""


def _other_engine(path: Path) -> str:
    """Try the other engine of the graphs."""
    if find_spec("onnxruntime") is None:
        return "ONNX Runtime is not installed here and was not tried"
    with without_telemetry():
        import onnxruntime

    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its error classes have no common base but Exception
        return f"ONNX Runtime refuses it too ({sentence(error)})"
    return "ONNX Runtime takes it"

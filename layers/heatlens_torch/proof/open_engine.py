"""Open OpenVINO on a layer's graphs, as a server will, and say what it refuses."""

from pathlib import Path

from heatlens.card import Graph
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import CompileError, EngineError
from heatlens_torch.errors import INSTEAD, LONGEST_SENTENCE

_PLACES = "Exception from"  # lines that only name OpenVINO's own sources


def open_engine(folder: Path, layer: str, trunk: Graph, tail: Graph) -> OpenVinoEngine:
    """Compile both graphs of a layer for this processor.

    Raises:
        CompileError: OpenVINO refuses one; the message has the layer and OpenVINO's own words.
    """
    try:
        return OpenVinoEngine(folder, trunk, tail)
    except EngineError as error:
        raise CompileError(
            f"{error}, the network cut at {layer!r}: {_words(error)}; choose another layer; {INSTEAD}"
        ) from error


def _words(error: EngineError) -> str:
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(_PLACES))
    return said if len(said) <= LONGEST_SENTENCE else said[:LONGEST_SENTENCE] + "…"

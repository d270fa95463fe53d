"""A graph into its file: ONNX model -> the same bytes for the same graph, and the card's record of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import onnx

from heatlens.card import Graph


def write_graph(model: onnx.ModelProto, path: Path) -> Graph:
    """Save a graph; the card's record of it is read back from the graph itself."""
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(data)
    return Graph(
        file=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        inputs=_names(model.graph.input),
        outputs=_names(model.graph.output),
    )


def _names(values: Sequence[onnx.ValueInfoProto]) -> tuple[str, ...]:
    return tuple(value.name for value in values)

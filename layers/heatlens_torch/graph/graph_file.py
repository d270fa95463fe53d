"""Write an ONNX graph to its file, the same graph always as the same bytes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import onnx

from heatlens.card import Graph


def write_graph(model: onnx.ModelProto, path: Path) -> Graph:
    """Save a graph and return the card's record of it."""
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

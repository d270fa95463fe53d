"""What the tables of families share: the proof of a small network, and a file of finished rows."""

import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from heatlens.card import Parity, Tokens
from heatlens.errors import ModelError
from heatlens.types import Floats
from heatlens_torch.errors import sentence
from heatlens_torch.graph.export import export
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.graph.probe import Probe
from heatlens_torch.proof import parity
from heatlens_torch.proof.open_engine import open_engines

SEEDS = 5  # of weights, of which the first is taken whose maps have positive evidence
INPUTS = 12  # one batch of each size of the proof
TRACEBACK = "an error that is no refusal:"

Row = TypeVar("Row")


def quiet() -> None:
    """Keep the warnings of the libraries and of torch.export out of the progress."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def has_evidence(network: nn.Module, layer: str, probed: Probe, images: Floats) -> bool:
    """Tell whether enough maps of pytorch-grad-cam have positive evidence: with others nothing could be compared."""
    maps = parity.explain_reference(network, layer, images[:INPUTS], probed.layout).signed_map
    return bool((maps.max(axis=(1, 2)) > 0).mean() >= parity.NONEMPTY_SHARE)


def prove(network: nn.Module, layer: str, probed: Probe, images: Floats) -> Parity:
    """Export both graphs, execute them and compare with pytorch-grad-cam.

    Raises:
        ModelError: As `compile_model`.
    """
    height, width = images.shape[2:]
    [graphs] = export(network, {layer: probed}, (height, width))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trunk, tail = write_graph(graphs.trunk, folder / "trunk.onnx"), write_graph(graphs.tail, folder / "tail.onnx")
        engines, _ = open_engines(folder, {layer: (trunk, tail)})
        return parity.prove(engines[layer], network, layer, images, probed.layout, inputs=INPUTS).parity


def grid_text(shape: Sequence[int], tokens: Tokens | None) -> str:
    """Write the height and width of `[C,h,w]`, and the order of its tokens if it has any."""
    return "x".join(map(str, shape[1:])) + (f" {tokens.order}" if tokens else "")


def refusal_text(error: Exception) -> str:
    """Write why a family is refused; an error that should have been a refusal is named as such."""
    return str(error) if isinstance(error, ModelError) else f"{TRACEBACK} {sentence(error)}"


def read(path: Path, kind: type[Row], key: str) -> dict[str, Row]:
    """Read finished rows by one of their fields; of several with the same value the last counts."""
    if not path.exists():
        return {}
    found = [kind(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {getattr(row, key): row for row in found}


def append(path: Path, row: Any) -> None:  # noqa: ANN401 - a dataclass
    """Write a finished row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")

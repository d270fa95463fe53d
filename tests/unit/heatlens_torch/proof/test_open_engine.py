"""A graph that OpenVINO refuses: who refuses, what it says, and where."""

from pathlib import Path

import pytest

from heatlens.errors import CompileError
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.proof.open_engine import open_engine
from tests.unit.heatlens_torch.graph.test_no_shuffle import rearranged


def test_a_refusal_has_the_engine_its_words_and_the_layer(tmp_path: Path) -> None:
    whole = write_graph(rearranged([3, -1, 3, 5, 4], [1, 3, 0, 2, 4], 36), tmp_path / "tail.onnx")

    with pytest.raises(CompileError) as caught:
        open_engine(tmp_path, "blocks.1.norm1", whole, whole)

    text = str(caught.value)
    assert text.startswith("OpenVINO cannot compile tail.onnx, the network cut at 'blocks.1.norm1': [ShuffleChannels")
    assert "Exception from src" not in text.partition("HAS THROWN")[0]
    assert "\n" not in text
    assert "; choose another layer; in Python heatlens_torch.uncompiled" in text

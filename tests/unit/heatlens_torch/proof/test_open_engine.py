"""A graph that OpenVINO refuses: who refuses, what it says, and where."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from heatlens.card import read_card
from heatlens.errors import CompileError
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.proof.open_engine import open_engine, open_engines
from tests.support.tiny import write_tiny_model
from tests.unit.heatlens_torch.graph.test_no_shuffle import rearranged


def test_a_refusal_has_the_engine_its_words_and_the_layer(tmp_path: Path) -> None:
    whole = write_graph(rearranged([3, -1, 3, 5, 4], [1, 3, 0, 2, 4], 36), tmp_path / "tail.onnx")

    with pytest.raises(CompileError) as caught:
        open_engine(tmp_path, "blocks.1.norm1", whole, whole)

    text = str(caught.value)
    assert text.startswith("OpenVINO cannot compile tail.onnx, the network up to 'blocks.1.norm1': [ShuffleChannels")
    assert "Exception from src" not in text.partition("HAS THROWN")[0]
    assert "\n" not in text
    assert "; choose another layer; in Python heatlens_torch.uncompiled" in text


def test_the_other_engine_takes_all_layers_with_the_words_of_the_first(tmp_path: Path) -> None:
    whole = write_graph(rearranged([3, -1, 3, 5, 4], [1, 3, 0, 2, 4], 36), tmp_path / "tail.onnx")

    engines, refused_by = open_engines(tmp_path, {"one": (whole, whole), "two": (whole, whole)})

    assert {name: engine.name for name, engine in engines.items()} == {"one": "onnxruntime", "two": "onnxruntime"}
    assert refused_by["openvino"].startswith("OpenVINO cannot compile tail.onnx, the network up to 'one': [Shuffle")
    assert "ONNX Runtime" not in refused_by["openvino"]


def test_what_both_engines_refuse_is_refused(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    [layer] = read_card(tmp_path)[0].layers
    (tmp_path / "trunk.onnx").write_bytes(odd("Odd", "nobody.knows").SerializeToString())

    with pytest.raises(CompileError, match="; ONNX Runtime refuses it too"):
        open_engines(tmp_path, {"cells": (layer.trunk, layer.tail)})


def odd(operator: str, domain: str = "") -> onnx.ModelProto:
    """Make a graph of one operator."""
    node = helper.make_node(operator, ["image"], ["activation"], domain=domain)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 3, 8, 8, 2]) for name in ("image", "activation")
    ]
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(helper.make_graph([node], "odd", values[:1], values[1:]), opset_imports=opsets)


def refusal(folder: Path, *, trunk: onnx.ModelProto | None = None, tail: onnx.ModelProto | None = None) -> str:
    """Return the message about a small model of which one graph is another."""
    write_tiny_model(folder)
    [layer] = read_card(folder)[0].layers
    for name, model in (("trunk", trunk), ("tail", tail)):
        if model is not None:
            (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CompileError) as caught:
        open_engine(folder, "cells", layer.trunk, layer.tail)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_part_the_operator_and_the_other_engine_are_named(tmp_path: Path) -> None:
    text = refusal(tmp_path, trunk=odd("Odd", "nobody.knows"))

    assert text.startswith("OpenVINO cannot compile trunk.onnx, the network up to 'cells': ")
    assert "Odd" in text
    assert "; ONNX Runtime refuses it too (" in text


def test_an_unusual_operator_is_named_though_the_engine_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Exception from src/core.cpp:1:\nSummary:\n-- Conversion is failed for: Mul-20\n")

    monkeypatch.setattr("openvino.Core.compile_model", refuse)
    (tmp_path / "model").mkdir()
    text = refusal(tmp_path / "model", trunk=odd("DFT"))

    assert ": Conversion is failed for: Mul-20 (it has the operator DFT); ONNX Runtime takes it" in text

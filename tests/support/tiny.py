"""Write a model whose map is known: the activation is each cell's mean brightness, the logit their weighted mean."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from heatlens.card import Card, Graph, Layer, Parity, Preprocess, write_card

SIDE, GRID = 32, 8
WEIGHT, BIAS = 8.0, -0.5  # logit = 8 * mean brightness - 0.5
FLOAT = TensorProto.FLOAT


def write_tiny_model(folder: Path, *, grid: tuple[int, int, int] = (1, GRID, GRID), **changes: Any) -> Path:  # noqa: ANN401 - fields of the card
    """Write a one-logit model of a 32x32 input and an 8x8 grid; `changes` replace fields of its card.

    `grid` is the shape of the layer in the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card = Card(
        name="tiny",
        version="7",
        notice="A test's model.",
        classes=("DARK", "BRIGHT"),
        output="sigmoid",
        preprocess=Preprocess(resize=(SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        layers=(
            Layer(
                name="cells",
                shape=grid,
                trunk=save(_trunk(), folder / "trunk.onnx"),
                tail=save(_tail(), folder / "tail.onnx"),
                parity=Parity(
                    inputs=1,
                    nonempty=1,
                    signed_map=0,
                    gradient=0,
                    logits=0,
                    threshold=1e-4,
                    reference="by construction",
                ),
            ),
        ),
    )
    write_card(card.model_copy(update=changes), folder)
    return folder


def bare_card(classes: tuple[str, ...], output: Literal["softmax", "sigmoid", "multilabel"]) -> Card:
    """Make a card without a model, for code that reads only its classes."""
    graph = Graph(file="none.onnx", sha256="0" * 64, inputs=(), outputs=())
    proof = Parity(inputs=1, nonempty=0, signed_map=0, gradient=0, logits=0, threshold=0, reference="none")
    return Card(
        name="bare",
        version="0",
        classes=classes,
        output=output,
        preprocess=Preprocess(resize=(SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        layers=(Layer(name="none", shape=(1, 1, 1), trunk=graph, tail=graph, parity=proof),),
    )


def _trunk() -> onnx.GraphProto:
    nodes = [
        helper.make_node("ReduceMean", ["image", "channels"], ["gray"], keepdims=1),
        helper.make_node("AveragePool", ["gray"], ["activation"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    image = helper.make_tensor_value_info("image", FLOAT, ["B", 3, SIDE, SIDE])
    activation = helper.make_tensor_value_info("activation", FLOAT, ["B", 1, GRID, GRID])
    channels = numpy_helper.from_array(np.array([1]), "channels")
    return helper.make_graph(nodes, "trunk", [image], [activation], [channels])


def _tail() -> onnx.GraphProto:
    """Compute logit = w * mean(A) + b; gradient = selector * w / cells, the selector of 0 being the logit's sign."""
    nodes = [
        helper.make_node("ReduceMean", ["activation", "cells"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "weight"], ["weighted"]),
        helper.make_node("Add", ["weighted", "bias"], ["logits"]),
        helper.make_node("GreaterOrEqual", ["logits", "zero"], ["bright"]),
        helper.make_node("Where", ["bright", "one", "minus_one"], ["sign"]),
        helper.make_node("Equal", ["selector", "zero"], ["unset"]),
        helper.make_node("Where", ["unset", "sign", "selector"], ["chosen"]),
        helper.make_node("Mul", ["chosen", "slope"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "cells"], ["cell"]),
        helper.make_node("Shape", ["activation"], ["shape"]),
        helper.make_node("Expand", ["cell", "shape"], ["gradient"]),
    ]
    scalars = {"weight": WEIGHT, "bias": BIAS, "zero": 0.0, "one": 1.0, "minus_one": -1.0, "slope": WEIGHT / GRID**2}
    constants = [numpy_helper.from_array(np.array([value], np.float32), name) for name, value in scalars.items()]
    constants.append(numpy_helper.from_array(np.array([2, 3]), "cells"))
    inputs = [
        helper.make_tensor_value_info("activation", FLOAT, ["B", 1, GRID, GRID]),
        helper.make_tensor_value_info("selector", FLOAT, ["B", 1]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", FLOAT, ["B", 1]),
        helper.make_tensor_value_info("gradient", FLOAT, ["B", 1, GRID, GRID]),
    ]
    return helper.make_graph(nodes, "tail", inputs, outputs, constants)


def save(graph: onnx.GraphProto, path: Path) -> Graph:
    """Write a graph and return the card's record of it."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    raw = model.SerializeToString()
    path.write_bytes(raw)
    return Graph(
        file=path.name,
        sha256=hashlib.sha256(raw).hexdigest(),
        inputs=tuple(value.name for value in graph.input),
        outputs=tuple(value.name for value in graph.output),
    )

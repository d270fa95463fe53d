"""Write a model of three classes and two layers whose maps are known: a class's evidence is its color in the image.

The activation is the mean red, green and blue of each cell, a logit 8 times the mean of its color. So the map of a
class is the cells' own color times 8 over the number of cells, and a contrast is the difference of two such maps.
"""

from pathlib import Path

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from heatlens.card import Calibration, Card, Layer, Parity, Preprocess, write_card
from tests.support.tiny import SIDE, WEIGHT, save

CLASSES = ("RED", "GREEN, light", "0")  # a label with a comma, and one that looks like an index
GRIDS = {"cells": 8, "patches": 4}
COLORS = 3
FLOAT = TensorProto.FLOAT


def write_colors_model(folder: Path, calibration: Calibration | None = None, **changes: object) -> Path:
    """Write the model; `calibration` is of the first layer's maps, `changes` replace fields of its card."""
    folder.mkdir(parents=True, exist_ok=True)
    proof = Parity(
        inputs=1, nonempty=1, signed_map=0, gradient=0, logits=0, threshold=1e-4, reference="by construction"
    )
    card = Card(
        name="colours",
        version="3",
        notice="A test's model.",
        classes=CLASSES,
        output="softmax",
        preprocess=Preprocess(resize=(SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        layers=tuple(
            Layer(
                name=name,
                shape=(COLORS, grid, grid),
                trunk=save(_trunk(grid), folder / f"trunk-{name}.onnx"),
                tail=save(_tail(grid), folder / f"tail-{name}.onnx"),
                parity=proof,
                calibration=calibration if name == "cells" else None,
            )
            for name, grid in GRIDS.items()
        ),
    )
    write_card(card.model_copy(update=changes), folder)
    return folder


def _trunk(grid: int) -> GraphProto:
    step = SIDE // grid
    nodes = [
        helper.make_node("AveragePool", ["image"], ["activation"], kernel_shape=[step, step], strides=[step, step])
    ]
    image = helper.make_tensor_value_info("image", FLOAT, ["B", 3, SIDE, SIDE])
    activation = helper.make_tensor_value_info("activation", FLOAT, ["B", COLORS, grid, grid])
    return helper.make_graph(nodes, "trunk", [image], [activation])


def _tail(grid: int) -> GraphProto:
    """Compute logits = w * mean(A) per channel; gradient = selector * w / cells, zeros selecting the largest logit."""
    nodes = [
        helper.make_node("ReduceMean", ["activation", "over_cells"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "weight"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("OneHot", ["best", "depth", "off_on"], ["predicted"], axis=-1),
        helper.make_node("Abs", ["selector"], ["size"]),
        helper.make_node("ReduceMax", ["size", "over_classes"], ["largest"], keepdims=1),
        helper.make_node("Equal", ["largest", "zero"], ["unset"]),
        helper.make_node("Where", ["unset", "predicted", "selector"], ["chosen"]),
        helper.make_node("Mul", ["chosen", "slope"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "over_cells"], ["cell"]),
        helper.make_node("Shape", ["activation"], ["shape"]),
        helper.make_node("Expand", ["cell", "shape"], ["gradient"]),
    ]
    floats = {"weight": [WEIGHT], "slope": [WEIGHT / grid**2], "zero": [0.0], "off_on": [0.0, 1.0]}
    numbers = {"over_cells": [2, 3], "over_classes": [1], "depth": [COLORS]}
    constants = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in floats.items()]
    constants += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    inputs = [
        helper.make_tensor_value_info("activation", FLOAT, ["B", COLORS, grid, grid]),
        helper.make_tensor_value_info("selector", FLOAT, ["B", COLORS]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", FLOAT, ["B", COLORS]),
        helper.make_tensor_value_info("gradient", FLOAT, ["B", COLORS, grid, grid]),
    ]
    return helper.make_graph(nodes, "tail", inputs, outputs, constants)

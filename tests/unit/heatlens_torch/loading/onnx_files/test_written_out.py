"""A softmax or sigmoid that is written out as arithmetic is one node again; other divisions are left."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

from heatlens_torch.loading.onnx_files.original import before_end
from heatlens_torch.loading.onnx_files.written_out import with_activations
from tests.support.onnx_models import graph

ONE = {"one": np.array(1, np.float32), "axes": np.array([-1])}
SCORES = helper.make_node("ReduceMean", ["image"], ["scores"], axes=[2, 3], keepdims=0)
EXP = helper.make_node("Exp", ["scores"], ["powers"])
SUM = helper.make_node("ReduceSum", ["powers", "axes"], ["total"], keepdims=1)
DIV = helper.make_node("Div", ["powers", "total"], ["out"], "division")
SHIFTED = [
    helper.make_node("ReduceMax", ["scores"], ["largest"], axes=[-1], keepdims=1),
    helper.make_node("Sub", ["scores", "largest"], ["shifted"]),
    helper.make_node("Exp", ["shifted"], ["powers"]),
]
LOGISTIC = [
    helper.make_node("Neg", ["scores"], ["minus"]),
    helper.make_node("Exp", ["minus"], ["powers"]),
    helper.make_node("Add", ["powers", "one"], ["below"]),
]
WRITTEN: dict[str, tuple[list[NodeProto], str]] = {
    "softmax": ([EXP, SUM, DIV], "softmax"),
    "softmax of differences from the largest": ([*SHIFTED, SUM, DIV], "softmax"),
    "sigmoid": ([*LOGISTIC, helper.make_node("Div", ["one", "below"], ["out"])], "sigmoid"),
    "sigmoid by a reciprocal": ([*LOGISTIC, helper.make_node("Reciprocal", ["below"], ["out"])], "sigmoid"),
}


def model_of(nodes: list[NodeProto], opset: int = 17) -> ModelProto:
    used = {name for node in nodes for name in node.input}
    constants: dict[str, Any] = {name: value for name, value in ONE.items() if name in used}
    return graph([SCORES, *nodes], constants, rank=2, opset=opset)


@pytest.mark.parametrize("name", WRITTEN)
def test_arithmetic_at_the_end_is_an_activation_of_the_scores(name: str) -> None:
    nodes, kind = WRITTEN[name]
    model = model_of(nodes)

    found = with_activations(model)

    assert before_end(found, "out") == ("scores", kind)
    assert before_end(model, "out") == ("out", None)
    image = {"image": np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)}
    answers: list[Any] = [ReferenceEvaluator(each).run(None, image) for each in (found, model)]
    ours, theirs = (answer[0] for answer in answers)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    onnx.checker.check_model(found)


@pytest.mark.parametrize(
    "nodes",
    [
        [EXP, helper.make_node("ReduceSum", ["powers", "axes"], ["total"], keepdims=0), DIV],
        [EXP, helper.make_node("ReduceSum", ["scores", "axes"], ["total"], keepdims=1), DIV],
        [helper.make_node("Abs", ["scores"], ["powers"]), SUM, DIV],
        [*LOGISTIC, helper.make_node("Div", ["powers", "below"], ["out"])],
    ],
    ids=["another shape", "another sum", "no powers", "another numerator"],
)
def test_other_divisions_are_left(nodes: list[NodeProto]) -> None:
    model = model_of(nodes)

    assert with_activations(model) is model


def test_an_axis_that_an_old_softmax_does_not_have_is_left() -> None:
    channels = [
        helper.make_node("Exp", ["image"], ["powers"]),
        helper.make_node("ReduceSum", ["powers"], ["total"], axes=[1], keepdims=1),
        DIV,
    ]

    assert before_end(with_activations(graph(channels, rank=4, opset=11)), "out") == ("out", None)
    assert before_end(with_activations(model_of([EXP, channels[1], DIV], opset=11)), "out") == ("scores", "softmax")

"""What a graph takes and answers is read from its shapes and its first and last nodes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from heatlens.errors import ModelFileError
from heatlens_torch.loading.onnx_files.signature import read_signature
from tests.support.onnx_models import SIDE, graph, keras_like


def head(*before: onnx.NodeProto, last: str = "image") -> list[onnx.NodeProto]:
    return [*before, helper.make_node("Conv", [last, "w"], ["out"], "conv")]


WEIGHT = {"w": np.zeros((2, 3, 1, 1), np.float32)}


def test_keras_layout_end_and_normalization_are_seen(tmp_path: Path) -> None:
    found = read_signature(onnx.load(keras_like(tmp_path / "a.onnx", normalizes=True)), "a.onnx")

    assert (found.channels_last, found.channels, found.size, found.batch) == (True, 3, (SIDE, SIDE), None)
    assert (found.ends, found.counts) == ({"out": "softmax"}, {"out": 3})
    assert found.affine is not None
    assert found.affine.nodes == ("Mul", "Sub")
    assert found.affine.takes_levels
    assert found.affine.mean == pytest.approx(127.5)


@pytest.mark.parametrize(
    ("shape", "last", "channels"),
    [
        (("n", 3, 8, 8), False, 3),
        (("n", 8, 8, 3), True, 3),
        (("n", 1, 8, 8), False, 1),
        (("n", "a", "b", "c"), False, 3),
    ],
)
def test_the_layout_is_that_of_the_channels(shape: tuple[int | str, ...], last: bool, channels: int) -> None:  # noqa: FBT001
    found = read_signature(graph(head(), WEIGHT, shape=shape), "a.onnx")

    assert (found.channels_last, found.channels) == (last, channels)


def test_a_transpose_tells_the_layout_where_no_size_does() -> None:
    turn = helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2])

    assert read_signature(graph(head(turn, last="turned"), WEIGHT, shape=("n", "a", "b", "c")), "a.onnx").channels_last


@pytest.mark.parametrize(
    ("operator", "value", "mean", "std", "levels"),
    [
        ("Sub", [104.0, 117.0, 123.0], [104, 117, 123], [1, 1, 1], True),
        ("Div", [255.0], [0], [255], True),
        ("Sub", [0.485, 0.456, 0.406], [0.485, 0.456, 0.406], [1, 1, 1], False),
    ],
)
def test_a_normalization_inside_is_read(
    operator: str,
    value: list[float],
    mean: list[float],
    std: list[float],
    levels: bool,  # noqa: FBT001
) -> None:
    first = helper.make_node(operator, ["image", "c"], ["normal"])
    constant = np.array(value, np.float32).reshape(1, -1, 1, 1)
    found = read_signature(graph(head(first, last="normal"), WEIGHT | {"c": constant}), "a.onnx").affine

    assert found is not None
    assert found.mean == pytest.approx(mean)
    assert 1 / found.gain == pytest.approx(std)
    assert found.takes_levels == levels


def test_a_batch_normalization_at_the_input_may_be_learned() -> None:
    names = ["scale", "bias", "m", "v"]
    first = helper.make_node("BatchNormalization", ["image", *names], ["normal"])
    constants = {name: np.full(3, 2, np.float32) for name in names}
    found = read_signature(graph(head(first, last="normal"), WEIGHT | constants), "a.onnx").affine

    assert found is not None
    assert found.learned


def test_no_normalization_is_seen_where_there_is_none() -> None:
    assert read_signature(graph(head(), WEIGHT), "a.onnx").affine is None


def refusal(model: ModelProto) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_signature(model, "a.onnx")
    return str(caught.value)


def test_several_inputs_are_named() -> None:
    model = graph(head(), WEIGHT)
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["n", 1]))

    assert refusal(model) == (
        "architecture: a.onnx takes the inputs 'image' [n,3,32,32], 'age' [n,1], and only a network of one image batch "
        "[B,C,H,W] or [B,H,W,C] can be compiled: name the image (--input-entry), and give the other inputs constants "
        "(--set 'constants={NAME=0.0}')"
    )


def test_an_output_that_is_no_score_is_refused() -> None:
    model = graph([helper.make_node("ArgMax", ["image"], ["out"])])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64

    assert refusal(model) == "architecture: a.onnx answers 'out', none of which is a float tensor of scores"


def test_a_zipmap_gives_its_scores_and_labels() -> None:
    zipped = helper.make_node(
        "ZipMap", ["scores"], ["out"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog", "bird"]
    )
    first = helper.make_node("Conv", ["image", "w"], ["scores"])
    found = read_signature(graph([first, zipped], WEIGHT, domains=("ai.onnx.ml",)), "a.onnx")

    assert (found.outputs, found.labels) == (("scores",), ("cat", "dog", "bird"))


@pytest.mark.parametrize(("end", "name"), [("Sigmoid", "sigmoid"), ("LogSoftmax", "softmax"), ("Relu", None)])
def test_the_end_is_seen_through_what_changes_no_value(end: str, name: str | None) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node(end, ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Identity", ["c"], ["out"]),
    ]

    assert read_signature(graph(nodes, WEIGHT), "a.onnx").ends.get("out") == name

"""Inputs beside the image become constants, shaped for one image, or are asked for by name."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from heatlens.errors import ModelFileError
from heatlens_torch.loading.onnx_files.bound_inputs import bind_inputs
from tests.support.onnx_models import graph

Input = tuple[str, int, Sequence[int | str]]
AGE: Input = ("age", TensorProto.FLOAT, ["n", 2])


def several(*others: Input) -> ModelProto:
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0)]
    for name, _, _ in others:
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Concat", [nodes[-3].output[0] if len(nodes) > 2 else "mean", f"{name}_float"],
                                      [f"{name}_out"], axis=1))  # fmt: skip
    model = graph(nodes, outputs=(nodes[-1].output[0],), rank=2)
    for name, kind, dims in others:
        model.graph.input.append(helper.make_tensor_value_info(name, kind, dims))
    return model


def bound(
    model: ModelProto, constants: Mapping[str, object], entry: int | str | None = None
) -> npt.NDArray[np.float32]:
    bind_inputs(model, entry, constants, "a.onnx")
    assert [value.name for value in model.graph.input] == ["image"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"image": np.ones((1, 3, 32, 32), np.float32)})[0])


def test_a_list_is_the_row_of_an_image() -> None:
    assert bound(several(AGE), {"age": [63.0, 1.0]}).tolist() == [[1, 1, 1, 63, 1]]


def test_a_number_fills_an_input_of_whole_numbers() -> None:
    assert bound(several(("sex", TensorProto.INT64, [1, 1])), {"sex": 2}).tolist() == [[1, 1, 1, 2]]


def test_the_image_is_named_by_its_place_too() -> None:
    assert bound(several(AGE), {"age": 5.0}, entry=0).tolist() == [[1, 1, 1, 5, 5]]


def test_a_fixed_batch_gets_the_constant_for_each_of_its_images() -> None:
    model = several(("age", TensorProto.FLOAT, [4, 1]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    bind_inputs(model, None, {"age": 7.0}, "a.onnx")

    assert numpy_helper.to_array(model.graph.initializer[-1]).tolist() == [[7]] * 4


def refusal(model: ModelProto, constants: Mapping[str, object], entry: int | str | None = None) -> str:
    with pytest.raises(ModelFileError) as caught:
        bind_inputs(model, entry, constants, "a.onnx")
    return str(caught.value)


def test_an_input_without_a_constant_is_asked_for() -> None:
    assert refusal(several(AGE), {}) == (
        "constants: a.onnx takes 'image' [n,3,32,32], 'age' [n,2]: give each input beside the image a value, the same "
        "for every image (--set 'constants={age=0.0}'), and name the image if it is another than 'image' "
        "(--input-entry)"
    )


@pytest.mark.parametrize(
    ("constants", "entry", "message"),
    [
        (
            {"height": 1.0},
            None,
            "constants: a.onnx takes no further 'height': it takes 'image' [n,3,32,32], 'age' [n,2]",
        ),
        ({"age": [1.0, 2.0, 3.0]}, None, "constants: 'age' of a.onnx is [n,2], and 3 numbers were given"),
        ({"age": 1.0}, "x", "input_entry: a.onnx takes no 'x': it takes 'image' [n,3,32,32], 'age' [n,2]"),
    ],
)
def test_what_does_not_fit_is_refused(constants: dict[str, object], entry: str | None, message: str) -> None:
    assert refusal(several(AGE), constants, entry) == message

"""The nodes between the input and the output of an attention are found, whether queries and keys are made at once."""

from heatlens_torch.loading.onnx_files.attention import attentions
from heatlens_torch.loading.onnx_files.network import Step


def step(op_type: str, takes: str, makes: str) -> Step:
    return Step(makes, tuple(takes.split()), tuple(makes.split()), op_type)


def names(steps: list[Step]) -> list[list[str]]:
    return [[each.name for each in group] for group in attentions(steps)]


BEFORE = [step("Conv", "image", "patches"), step("LayerNormalization", "patches", "norm")]
AFTER = [
    step("Softmax", "scores", "weights"),
    step("MatMul", "weights v", "mixed"),
    step("MatMul", "mixed", "projected"),
    step("Add", "projected patches", "sum"),
]


def test_separate_queries_keys_and_values_are_inside() -> None:
    parts = [step("MatMul", "norm", name) for name in "qkv"]
    steps = [*BEFORE, *parts, step("MatMul", "q k", "scores"), *AFTER]

    assert names(steps) == [["q", "k", "v", "scores", "weights", "mixed"]]


def test_the_layer_that_makes_all_three_is_inside() -> None:
    parts = [
        step("MatMul", "norm", "product"),
        step("Add", "product", "qkv"),
        step("Reshape", "qkv", "heads"),
        *(step("Gather", "heads", name) for name in "qkv"),
    ]
    steps = [*BEFORE, *parts, step("MatMul", "q k", "scores"), *AFTER]

    assert names(steps) == [["product", "qkv", "heads", "q", "k", "v", "scores", "weights", "mixed"]]


def test_a_softmax_over_classes_is_no_attention() -> None:
    assert names([*BEFORE, step("Gemm", "norm", "logits"), step("Softmax", "logits", "out")]) == []


def test_values_that_are_used_elsewhere_are_a_layer() -> None:
    parts = [step("MatMul", "norm", name) for name in "qkv"]
    steps = [*BEFORE, *parts, step("MatMul", "q k", "scores"), *AFTER, step("Relu", "v", "also")]

    assert names(steps) == []

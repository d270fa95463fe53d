"""Find the nodes of an ONNX graph that compute an attention: tensors between its input and output are no maps.

An attention is a MatMul of a softmax's result with the values. Scores, queries, keys and values all come from one
tensor, which every way from the image passes: the nearest dominator of that MatMul, or what a linear layer made it of.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

UNCHANGED = ("Cast", "Dropout", "Identity")
ARRANGING = ("Transpose", "Reshape", "Split", "Gather", "Squeeze", "Unsqueeze", "Slice", *UNCHANGED)
LINEAR = ("MatMul", "Gemm")


class StepLike(Protocol):
    """A node with the tensors that it takes (no constants) and makes."""

    @property
    def name(self) -> str: ...
    @property
    def takes(self) -> tuple[str, ...]: ...
    @property
    def makes(self) -> tuple[str, ...]: ...
    @property
    def op_type(self) -> str: ...


S = TypeVar("S", bound=StepLike)


def attentions(steps: Sequence[S]) -> list[list[S]]:
    """Return the nodes of each attention, in the graph's order; the last of each makes its output."""
    return []

"""Find the nodes of an ONNX graph that compute an attention: tensors between its input and output are no maps.

An attention is a MatMul of a softmax's result with the values. Scores, queries, keys and values come from one tensor,
which every way from the image passes: the nearest dominator of that MatMul, or what a linear layer made it of.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

UNCHANGED = ("Cast", "Dropout", "Identity")
ARRANGING = ("Transpose", "Reshape", "Split", "Gather", "Squeeze", "Unsqueeze", "Slice", *UNCHANGED)
LINEAR = ("MatMul", "Gemm")


class StepLike(Protocol):
    """A node with the tensors that it takes, without constants, and makes."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def takes(self) -> tuple[str, ...]:
        """What goes in."""

    @property
    def makes(self) -> tuple[str, ...]:
        """What comes out."""

    @property
    def op_type(self) -> str:
        """Its operator."""


S = TypeVar("S", bound=StepLike)


def attentions(steps: Sequence[S]) -> list[list[S]]:
    """Return the nodes of each attention, in the graph's order; the last of each makes its output."""
    makers = {name: index for index, step in enumerate(steps) for name in step.makes if name}
    sources = [sorted({makers[name] for name in step.takes if name in makers}) for step in steps]
    sizes = _sizes(steps, sources)
    ways = [[source for source in found if source not in sizes] for found in sources]
    dominators = _dominators(ways)
    found: list[list[S]] = []
    used = set[int]()
    for end, step in enumerate(steps):
        if step.op_type == "MatMul" and any(_is_softmax(steps, sources, source) for source in sources[end]):
            start = _before_linear(steps, ways, dominators[end])
            inside = _between(sources, start, end)
            if start is not None and not used & set(inside) and _is_closed(steps, inside, end):
                used |= set(inside)
                found.append([steps[index] for index in inside])
    return found


def _is_softmax(steps: Sequence[StepLike], sources: Sequence[list[int]], index: int) -> bool:
    while steps[index].op_type in UNCHANGED and sources[index]:
        index = sources[index][0]
    return steps[index].op_type == "Softmax"


def _sizes(steps: Sequence[StepLike], sources: Sequence[list[int]]) -> set[int]:
    """Return the nodes that compute sizes, from a Shape on: they are no way for the image."""
    found = set[int]()
    made = {name for step in steps for name in step.makes}
    for index, step in enumerate(steps):
        without_image = all(name in made for name in step.takes if name)
        if step.op_type == "Shape" or (sources[index] and without_image and found.issuperset(sources[index])):
            found.add(index)
    return found


def _dominators(ways: Sequence[list[int]]) -> list[int | None]:
    """Return for each node the last one that every way to it passes; `None` is the image."""
    nearest: list[int | None] = []
    for found in ways:
        common: int | None = found[0] if found else None
        for way in found[1:]:
            other: int | None = way
            while common != other:  # a dominator comes before what it dominates
                if other is None or (common is not None and common > other):
                    common = nearest[common] if common is not None else None
                else:
                    other = nearest[other]
        nearest.append(common)
    return nearest


def _before_linear(steps: Sequence[StepLike], ways: Sequence[list[int]], start: int | None) -> int | None:
    """Go back over the layer that makes queries, keys and values at once, and what arranges them."""
    while start is not None:
        op_type, before = steps[start].op_type, ways[start]
        biased = op_type == "Add" and len(before) == 1 and steps[before[0]].op_type in LINEAR
        if len(before) != 1 or not (op_type in (*ARRANGING, *LINEAR) or biased):
            return start
        start = before[0]
    return None


def _between(sources: Sequence[list[int]], start: int | None, end: int) -> list[int]:
    """Return the nodes on a way from `start`, without it, to `end`."""
    before, pending = set[int](), [end]
    while pending:
        index = pending.pop()
        if index not in before and (start is None or index > start):
            before.add(index)
            pending += sources[index]
    inside = set[int]()
    for index in sorted(before):
        if start in sources[index] or inside.intersection(sources[index]):
            inside.add(index)
    return sorted(inside)


def _is_closed(steps: Sequence[StepLike], inside: Sequence[int], end: int) -> bool:
    """Tell whether nothing inside but the last node's output is used outside."""
    within = set(inside)
    made = {name for index in inside if index != end for name in steps[index].makes}
    return end in within and not any(
        name in made for index, step in enumerate(steps) if index not in within for name in step.takes
    )

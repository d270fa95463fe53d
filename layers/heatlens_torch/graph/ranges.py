"""Say which entries of a value an operation of a captured graph selects, and where entries were before a reshape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import getitem
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten
_PARTS = (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)


@dataclass(frozen=True, slots=True)
class Range:
    """`length` entries of dimension `dim` from `start`."""

    dim: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Selection:
    """A range of the node `source`; where `drops`, of length 1 and without the dimension."""

    source: fx.Node
    range: Range
    drops: bool


def selection_of(node: fx.Node) -> Selection | None:
    """Return what a node selects; `None` for other operations, and for bounds that follow the batch."""
    if node.target == aten.select.int:
        return _selection(first_input(node), dim_of(node, 1), node.args[2], 1, drops=True)
    if node.target == aten.slice.Tensor:
        return _slice(node)
    if node.target == getitem:
        return _part(first_input(node), node.args[1])
    return None


def before_reshape(source: fx.Node, result: fx.Node, wanted: Range) -> Range | None:
    """Return the range of `source` whose entries are a range of `result`, the same values in another shape.

    Returns:
        `None` where they are no single range: where the dimension was merged with one before it.
    """
    before, after = (list(map(_expression, shape_of(each))) for each in (source, result))
    outer, size = math.prod(after[: wanted.dim]), after[wanted.dim]
    for dim, own in enumerate(before):
        inner = 1
        for following in [1, *after[wanted.dim + 1 :]]:  # the dimension itself, or what it was split into
            inner *= following
            if isinstance(inner, int) and (math.prod(before[:dim]), own) == (outer, size * inner):
                return Range(dim, wanted.start * inner, wanted.length * inner)
    return None


def sizes_of(node: fx.Node) -> list[int] | None:
    """List the sizes of a value with -1 for the one that follows the batch; `None` if several do."""
    sizes = [size if isinstance(size, int) else -1 for size in shape_of(node)]
    return sizes if sizes.count(-1) <= 1 else None


def order_of(node: fx.Node) -> list[int]:
    """List the input's dimensions in the order of the output of `permute` or `transpose`."""
    rank = len(shape_of(node))
    given: Any = node.args[1:]
    if node.target == aten.permute.default:
        return [dim % rank for dim in given[0]]
    order = list(range(rank))
    one, two = (dim % rank for dim in given)
    order[one], order[two] = two, one
    return order


def dim_of(node: fx.Node, at: int, rank: int | None = None) -> int:
    """Return the dimension that an argument names, of the input unless the rank is given; by default the first."""
    dim: Any = node.args[at] if len(node.args) > at else node.kwargs.get("dim", 0)
    return int(dim) % (rank or len(shape_of(first_input(node))))


def first_input(node: fx.Node) -> fx.Node:
    """Return the node that is the first argument."""
    first = node.args[0]
    assert isinstance(first, fx.Node)
    return first


def shape_of(node: fx.Node) -> Sequence[int]:
    """Return the shape of a node's value; a size that follows the batch is a symbol."""
    shape: Sequence[int] = node.meta["val"].shape
    return shape


def _slice(node: fx.Node) -> Selection | None:
    start, end, step = (*node.args[2:], None, None, None)[:3]
    dim = dim_of(node, 1)
    size = shape_of(first_input(node))[dim]
    if step not in (None, 1) or not all(each is None or isinstance(each, int) for each in (size, start, end)):
        return None
    bounds: Any = slice(start, end).indices(size)
    return _selection(first_input(node), dim, bounds[0], bounds[1] - bounds[0], drops=False)


def _part(several: fx.Node, at: Any) -> Selection | None:  # noqa: ANN401 - an index
    """Return what one of the results of an operation selects."""
    if several.target == aten.unbind.int:
        return _selection(first_input(several), dim_of(several, 1), at, 1, drops=True)
    if several.target in _PARTS:
        dim = dim_of(several, 2)
        lengths = [part.shape[dim] for part in several.meta["val"]]
        return _selection(first_input(several), dim, sum(lengths[:at]), lengths[at], drops=False)
    return None


def _selection(source: fx.Node, dim: int, start: Any, length: Any, *, drops: bool) -> Selection | None:  # noqa: ANN401
    size = shape_of(source)[dim]
    if not all(isinstance(number, int) for number in (size, start, length)):
        return None
    return Selection(source, Range(dim, start % size, length), drops)


def _expression(size: Any) -> Any:  # noqa: ANN401 - sympy has no types
    """Return a size that can be compared without fixing it: a number, or an expression of the batch."""
    return size if isinstance(size, int) else size.node.expr

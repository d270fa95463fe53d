"""Compute only those tokens after the target layer that the logits read.

A vision transformer reads its logits from the class token. After the last attention nothing but this token matters, and
in that attention no query but its own: the other rows of the last block are computed for nothing, and differentiated
for nothing once for each target. Here the selection of the token moves before the operations that treat each token
alone; keys and values remain. The values are the same.
"""

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter, getitem
from typing import Any

import torch
from torch import fx

from heatlens_torch.graph.marks import find_mark
from heatlens_torch.graph.ranges import (
    Range,
    before_reshape,
    dim_of,
    first_input,
    order_of,
    selection_of,
    shape_of,
    sizes_of,
)

aten = torch.ops.aten
LEAST_SAVING = 8  # times fewer entries; where all of them are read elsewhere too, this many are computed twice
_RESHAPES = (
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.unflatten.int,
    aten.flatten.using_ints,
)
_LAYOUTS = (
    *_RESHAPES,
    aten.permute.default,
    aten.transpose.int,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.clone.default,
    aten.contiguous.default,
)
_ON_ITS_OWN = (aten.dropout.default, aten.alias.default, aten.contiguous.default, aten.detach.default)


def narrow(captured: fx.GraphModule, layer: str) -> None:
    """Move selections of tokens towards the target layer, in place; a graph without the layer's mark is left.

    The mark is not passed, so that the layer's output and its gradient stay whole.

    Args:
        captured: From `capture`, before `simplify`: linear layers and attention are single operators.
        layer: Module path of the target.
    """
    mark = find_mark(captured.graph, layer)
    if mark is None:
        return
    after = _dependents(captured.graph, mark)
    narrower = _Narrower(captured, after)
    for node in [each for each in captured.graph.nodes if each in after]:
        narrower.select(node)
    captured.graph.eliminate_dead_code()
    # Where one linear layer makes queries, keys and values, each gets its own: the other queries are not read any more.
    for node in [each for each in captured.graph.nodes if narrower.reads_packed(each)]:
        narrower.select(node, packed=True)
    captured.graph.eliminate_dead_code()
    captured.graph.lint()
    captured.recompile()


class _Narrower:
    """Makes nodes that compute a range of what other nodes compute."""

    def __init__(self, captured: fx.GraphModule, after: set[fx.Node]) -> None:
        self._captured, self._after = captured, set(after)
        self._made: dict[tuple[fx.Node, Range], fx.Node] = {}
        self._twins: list[tuple[fx.Node, fx.Node]] = []  # a linear layer of all tokens, and that of some
        self._heavy = 0  # products that became smaller
        self._of_features = False

    def select(self, node: fx.Node, *, packed: bool = False) -> None:
        """Compute what a selection reads, and no more, if products become smaller by that.

        Args:
            node: Any node; what is no selection is left.
            packed: Whether it selects features that one linear layer makes, and not tokens.
        """
        chosen = selection_of(node)
        if chosen is None or chosen.source not in self._after:
            return
        if not packed and chosen.range.length * LEAST_SAVING > shape_of(chosen.source)[chosen.range.dim]:
            return
        before, self._made, self._of_features = self._heavy, {}, packed
        with self._captured.graph.inserting_before(node):
            narrowed = self._of(chosen.source, chosen.range)
            if self._heavy == before:
                return  # the new nodes have no reader and go
            if chosen.drops:
                narrowed = self._without(narrowed, chosen.range.dim)
        node.replace_all_uses_with(narrowed)

    def reads_packed(self, node: fx.Node) -> bool:
        """Tell whether a node selects from a linear layer of which a part is not read any more."""
        chosen = selection_of(node)
        if chosen is None:
            return False
        source = chosen.source
        while source in self._after and source.target in _LAYOUTS:
            source = first_input(source)
        alive = set(self._captured.graph.nodes)
        return any(source in twins and twins[0] in alive for twins in self._twins)

    def _of(self, node: fx.Node, span: Range) -> fx.Node:
        """Return a node with a range of the node's value: a smaller computation, else a slice."""
        if (node, span) not in self._made:
            rule = _rule(node) if node in self._after else None
            found = rule(self, node, span) if rule else None
            self._made[node, span] = found or self._call(
                node, aten.slice.Tensor, node, span.dim, span.start, span.start + span.length
            )
        return self._made[node, span]

    def _call(self, model: fx.Node, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:  # noqa: ANN401
        """Insert an operation that says of itself what `model` does, but for its shape."""
        made: fx.Node = self._captured.graph.call_function(target, args, kwargs)
        values = fx.map_arg((args, kwargs), lambda each: each.meta["val"])
        with torch.no_grad():
            made.meta = dict(model.meta) | {"val": target(*values[0], **values[1])}
        self._after.add(made)
        return made

    def _again(self, node: fx.Node, changed: dict[int, Any]) -> fx.Node:
        """Repeat a node's operation with other arguments at some positions."""
        args = [changed.get(at, value) for at, value in enumerate(node.args)]
        return self._call(node, node.target, *args, **node.kwargs)  # type: ignore[arg-type]  # a call_function

    def elementwise(self, node: fx.Node, span: Range) -> fx.Node:
        rank = len(shape_of(node))
        changed = {}
        for at, value in enumerate(node.args):
            if isinstance(value, fx.Node) and isinstance(value.meta.get("val"), torch.Tensor):
                own = replace(span, dim=span.dim - rank + len(shape_of(value)))
                if own.dim >= 0 and shape_of(value)[own.dim] != 1:
                    changed[at] = self._of(value, own)
        return self._again(node, changed)

    def normalization(self, node: fx.Node, span: Range) -> fx.Node | None:
        normalized: Any = node.args[1]
        if span.dim >= len(shape_of(node)) - len(normalized):
            return None
        return self._again(node, {0: self._of(first_input(node), span)})

    def softmax(self, node: fx.Node, span: Range) -> fx.Node | None:
        return None if dim_of(node, 1) == span.dim else self._again(node, {0: self._of(first_input(node), span)})

    def linear(self, node: fx.Node, span: Range) -> fx.Node | None:
        is_feature = span.dim == len(shape_of(node)) - 1
        if is_feature and not self._of_features:
            return None
        self._heavy += 1
        if not is_feature:
            self._twins.append((node, self._again(node, {0: self._of(first_input(node), span)})))
            return self._twins[-1][1]
        rows = replace(span, dim=0)
        return self._again(node, {at: self._part(each, rows) for at, each in enumerate(node.args[1:], 1) if each})

    def _part(self, weight: Any, span: Range) -> fx.Node:  # noqa: ANN401 - a node
        """Return rows of a constant as a constant, else of a value."""
        if weight.op != "get_attr":
            return self._of(weight, span)
        name = f"{weight.name}_{span.start}_{span.length}"
        values = attrgetter(weight.target)(self._captured).detach()
        self._captured.register_buffer(name, values.narrow(0, span.start, span.length).contiguous())
        made: fx.Node = self._captured.graph.get_attr(name)
        made.meta = {"val": weight.meta["val"].detach().narrow(0, span.start, span.length)}
        return made

    def attention(self, node: fx.Node, span: Range) -> fx.Node | None:
        given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), node.args, strict=False))
        given |= node.kwargs
        if span.dim != len(shape_of(node)) - 2 or given.get("is_causal") or given.get("attn_mask") is not None:
            return None
        self._heavy += 1
        return self._again(node, {0: self._of(first_input(node), span)})

    def product(self, node: fx.Node, span: Range) -> fx.Node | None:
        if span.dim != len(shape_of(node)) - 2 or len(shape_of(first_input(node))) != len(shape_of(node)):
            return None
        self._heavy += 1
        return self._again(node, {0: self._of(first_input(node), span)})

    def permutation(self, node: fx.Node, span: Range) -> fx.Node:
        return self._again(node, {0: self._of(first_input(node), replace(span, dim=order_of(node)[span.dim]))})

    def unsqueezing(self, node: fx.Node, span: Range) -> fx.Node | None:
        at = dim_of(node, 1, rank=len(shape_of(node)))
        if at == span.dim:
            return None
        return self._again(node, {0: self._of(first_input(node), replace(span, dim=span.dim - (at < span.dim)))})

    def squeezing(self, node: fx.Node, span: Range) -> fx.Node | None:
        at = dim_of(node, 1)
        if shape_of(first_input(node))[at] != 1:
            return None
        return self._again(node, {0: self._of(first_input(node), replace(span, dim=span.dim + (at <= span.dim)))})

    def selection(self, node: fx.Node, span: Range) -> fx.Node | None:
        if node.target == aten.slice.Tensor and dim_of(node, 1) != span.dim:  # of the whole batch too
            return self._again(node, {0: self._of(first_input(node), span)})
        chosen = selection_of(node)
        if chosen is None:
            return None
        source, own = chosen.source, chosen.range
        if chosen.drops:
            narrowed = self._of(source, replace(span, dim=span.dim + (own.dim <= span.dim)))
            return self._call(node, aten.select.int, narrowed, own.dim, own.start)
        if own.dim == span.dim:
            return self._of(source, replace(own, start=own.start + span.start, length=span.length))
        return self._call(node, aten.slice.Tensor, self._of(source, span), own.dim, own.start, own.start + own.length)

    def concatenation(self, node: fx.Node, span: Range) -> fx.Node | None:
        parts: Any = node.args[0]
        dim = dim_of(node, 1, rank=len(shape_of(node)))
        if dim != span.dim:
            return self._again(node, {0: [self._of(part, span) for part in parts]})
        start = span.start
        for part in parts:
            size = shape_of(part)[dim]
            if start >= 0 and start + span.length <= size:
                return self._of(part, replace(span, start=start))
            start -= size
        return None

    def reshaping(self, node: fx.Node, span: Range) -> fx.Node | None:
        source = self._unshaped(first_input(node))
        sizes, moved = sizes_of(node), before_reshape(source, node, span)
        if sizes is None:
            return None
        if moved is not None:
            narrowed = self._of(source, moved)
            return self._call(
                node, aten.reshape.default, narrowed, [*sizes[: span.dim], span.length, *sizes[span.dim + 1 :]]
            )
        if source.target != aten.linear.default or source not in self._after or sizes[-1] != shape_of(source)[-1]:
            return None
        # The rows of images and tokens in one: the same as those of images and tokens apart.
        rows = self._unshaped(first_input(source))
        apart = self._call(source, aten.reshape.default, rows, [*sizes[:-1], shape_of(first_input(source))[-1]])
        return self._of(self._call(source, aten.linear.default, apart, *source.args[1:]), span)

    def _without(self, node: fx.Node, dim: int) -> fx.Node:
        """Return a node's value without a dimension of size 1, and without the operations that only carry it along."""
        if node.target == aten.clone.default:
            return self._without(first_input(node), dim)
        if node.target in (aten.permute.default, aten.transpose.int):
            order = order_of(node)
            at = order[dim]
            kept = [each - (each > at) for each in order if each != at]
            inner = self._without(first_input(node), at)
            return inner if kept == sorted(kept) else self._call(node, aten.permute.default, inner, kept)
        if node.target in _RESHAPES and (sizes := sizes_of(node)) is not None:
            return self._call(node, aten.reshape.default, first_input(node), [*sizes[:dim], *sizes[dim + 1 :]])
        return self._call(node, aten.squeeze.dim, node, dim)

    def _unshaped(self, node: fx.Node) -> fx.Node:
        while node.target in _RESHAPES and node in self._after:
            node = first_input(node)
        return node


_Rule = Callable[[_Narrower, fx.Node, Range], fx.Node | None]
_RULES: dict[Any, _Rule] = {
    aten.layer_norm.default: _Narrower.normalization,
    aten.rms_norm.default: _Narrower.normalization,
    aten.softmax.int: _Narrower.softmax,
    aten._softmax.default: _Narrower.softmax,
    aten.linear.default: _Narrower.linear,
    aten.scaled_dot_product_attention.default: _Narrower.attention,
    aten.matmul.default: _Narrower.product,
    aten.bmm.default: _Narrower.product,
    aten.permute.default: _Narrower.permutation,
    aten.transpose.int: _Narrower.permutation,
    aten.unsqueeze.default: _Narrower.unsqueezing,
    aten.squeeze.dim: _Narrower.squeezing,
    aten.select.int: _Narrower.selection,
    aten.slice.Tensor: _Narrower.selection,
    getitem: _Narrower.selection,
    aten.cat.default: _Narrower.concatenation,
    **dict.fromkeys(_RESHAPES, _Narrower.reshaping),
    **dict.fromkeys(_ON_ITS_OWN, _Narrower.elementwise),
}


def _rule(node: fx.Node) -> _Rule | None:
    if isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags:
        return _Narrower.elementwise
    return _RULES.get(node.target)


def _dependents(graph: fx.Graph, source: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "call_function" and any(before is source or before in found for before in node.all_input_nodes):
            found.add(node)
    return found

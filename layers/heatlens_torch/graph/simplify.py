"""Rewrite operators of a captured graph whose derivatives have no conversion to ONNX."""

import math
import sys
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import fx

from heatlens_torch.graph.padding import rewrite_padding
from heatlens_torch.graph.pooling import rewrite_pooling
from heatlens_torch.graph.rewriting import replace
from heatlens_torch.graph.unfolding import rewrite_unfolding

aten = torch.ops.aten


def simplify(captured: fx.GraphModule) -> None:
    """Change the graph in place: pooling and attention become their mathematical form, views become reshapes.

    - Pooling: see `pooling`. torch's mean changes strides in place for channels-last input (ConvNeXt), whose derivative
      is a scatter into strides; the derivatives of the general forms (VGG, fastai's head) have no conversion at all.
    - Attention: the derivative of fused attention has no conversion, and torch's mathematical form fixes the batch
      while it is traced. Views were recorded for the memory layout of fused attention (ViT).
    - Bounds of a clamp that are single constants become numbers: the conversion of tensors loses one where several
      clamps have the same input (Gemma's ViT).
    - A slice of the whole batch, as in `x[:, 0]`, a padding (Swin) a linear layer over tokens and unfold would fix
      the batch.
    """
    nodes: list[Any] = list(captured.graph.nodes)  # fx types the arguments of a node too widely to be of use
    for node in nodes:
        if node.target == aten.view.default:
            node.target = aten.reshape.default
        if node.target == aten.slice.Tensor and tuple(node.args[2:]) == (0, sys.maxsize):
            node.replace_all_uses_with(node.args[0])
        if node.target == aten.pad.default and _is_constant_padding(node):
            _padding(captured, node)
        if node.target == aten.scaled_dot_product_attention.default:
            _attention(captured, node)
        if node.target == aten.linear.default and node.args[0].meta["val"].dim() > 2:
            _linear(captured, node)
        if node.target == aten.clamp.Tensor:
            _clamp(captured, node)
        rewrite_padding(captured, node)
        rewrite_pooling(captured, node)
        rewrite_unfolding(captured, node)
    captured.graph.eliminate_dead_code()
    captured.recompile()


def _is_constant_padding(node: Any) -> bool:  # noqa: ANN401
    value, widths, mode, _ = _padding_arguments(node)
    beyond_batch = len(widths) < 2 * value.meta["val"].dim()
    return bool(mode == "constant") and beyond_batch and all(isinstance(width, int) for width in widths)


def _padding_arguments(node: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return the value, the widths, the mode and the constant, also where they are left out."""
    return (*node.args, "constant", None)[:4] if len(node.args) < 4 else node.args


def _padding(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401
    """Concatenate a constant before and after, dimension by dimension from the last; a negative width cuts.

    The batch is never padded.
    """
    padded, widths, _, constant = _padding_arguments(node)
    fill = float(constant or 0)
    call, shape = captured.graph.call_function, list(padded.meta["val"].shape)
    with captured.graph.inserting_before(node):
        shape[0] = call(aten.sym_size.int, (padded, 0))
        shape[0].meta["val"] = padded.meta["val"].shape[0]
        for dim, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True), start=1):
            if min(before, after) < 0:
                ends = max(0, -before), shape[-dim] - max(0, -after)
                padded, shape[-dim] = call(aten.slice.Tensor, (padded, -dim, *ends)), ends[1] - ends[0]
            margins = [
                [_margin(call, padded, shape, dim, width, fill)] if width > 0 else [] for width in (before, after)
            ]
            if max(before, after) > 0:
                padded = call(aten.cat.default, ([*margins[0], padded, *margins[1]], -dim))
                shape[-dim] += max(0, before) + max(0, after)
    replace(captured, node, padded)


def _margin(
    call: Callable[..., fx.Node], padded: fx.Node, shape: Sequence[Any], dim: int, width: int, fill: float
) -> fx.Node:
    """Make `width` cells of a constant along the `dim`-th dimension from the last."""
    sizes = [*shape[:-dim], width, *shape[len(shape) - dim + 1 :]]
    return call(aten.new_full.default, (padded, sizes, fill))


def _clamp(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401 - arguments of nodes have no types
    """Clamp by numbers; an infinite bound is none."""
    value, *bounds = (*node.args, None)[:3]
    bounds = [node.kwargs.get(name, bound) for name, bound in zip(("min", "max"), bounds, strict=True)]
    if any(bound is not None and (bound.op != "get_attr" or bound.meta["val"].numel() != 1) for bound in bounds):
        return
    numbers = [None if bound is None else float(attrgetter(bound.target)(captured)) for bound in bounds]
    finite = [None if number is None or math.isinf(number) else number for number in numbers]
    with captured.graph.inserting_before(node):
        result = value if finite == [None, None] else captured.graph.call_function(aten.clamp.default, (value, *finite))
    replace(captured, node, result)


def _linear(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401
    """Multiply all tokens as the rows of one matrix: torch would multiply by a copy of the weight for each image."""
    value, weight, *bias = node.args
    sizes = value.meta["val"].shape[:-1]
    if sum(not isinstance(size, int) for size in sizes) > 1:
        return
    call, shape = captured.graph.call_function, [size if isinstance(size, int) else -1 for size in sizes]
    with captured.graph.inserting_before(node):
        rows = call(aten.reshape.default, (value, [-1, weight.meta["val"].shape[1]]))
        product = call(aten.mm.default, (rows, call(aten.t.default, (weight,))))
        result = call(aten.add.Tensor, (product, bias[0])) if bias and bias[0] is not None else product
        result = call(aten.reshape.default, (result, [*shape, weight.meta["val"].shape[0]]))
    replace(captured, node, result)


def _attention(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401
    """Write attention as `softmax(scale * q k^T + mask) v`; other variants are left, to be refused by name."""
    given = {argument.name: value for argument, value in zip(node.target._schema.arguments, node.args, strict=False)}
    given |= node.kwargs
    if given.get("dropout_p") or given.get("is_causal") or given.get("enable_gqa"):
        return
    query, key, value, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
    scale, call = given.get("scale") or query.meta["val"].shape[-1] ** -0.5, captured.graph.call_function
    with captured.graph.inserting_before(node):
        turned = call(aten.transpose.int, (key, -2, -1))
        scores = call(aten.matmul.default, (call(aten.mul.Tensor, (query, scale)), turned))
        if mask is not None and mask.meta["val"].dtype == torch.bool:
            hidden = call(aten.logical_not.default, (mask,))
            scores = call(aten.masked_fill.Scalar, (scores, hidden, float("-inf")))
        elif mask is not None:
            scores = call(aten.add.Tensor, (scores, mask))
        attended = call(aten.matmul.default, (call(aten.softmax.int, (scores, -1)), value))
    replace(captured, node, attended)

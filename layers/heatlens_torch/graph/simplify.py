"""Rewrite operators of a captured graph whose derivatives have no conversion to ONNX."""

import sys
from typing import Any

import torch
from torch import fx

from heatlens_torch.graph.padding import rewrite_padding
from heatlens_torch.graph.pooling import rewrite_pooling
from heatlens_torch.graph.unfolding import rewrite_unfolding

aten = torch.ops.aten


def simplify(captured: fx.GraphModule) -> None:
    """Change the graph in place: pooling and attention become their mathematical form, views become reshapes.

    - Pooling: see `pooling`. torch's mean changes strides in place for channels-last input (ConvNeXt), whose derivative
      is a scatter into strides; the derivatives of the general forms (VGG, fastai's head) have no conversion at all.
    - Attention: the derivative of fused attention has no conversion, and torch's mathematical form fixes the batch
      while it is traced. Views were recorded for the memory layout of fused attention (ViT).
    - A slice of the whole batch, as in `x[:, 0]`, a padding (Swin) a linear layer over tokens and unfold would fix
      the batch.
    """
    nodes: list[Any] = list(captured.graph.nodes)  # fx types the arguments of a node too widely to be of use
    for node in nodes:
        if node.target == aten.view.default:
            node.target = aten.reshape.default
        if node.target == aten.slice.Tensor and tuple(node.args[2:]) == (0, sys.maxsize):
            node.replace_all_uses_with(node.args[0])
        if node.target == aten.pad.default and _is_zero_padding(node):
            _padding(captured, node)
        if node.target == aten.scaled_dot_product_attention.default:
            _attention(captured, node)
        if node.target == aten.linear.default and node.args[0].meta["val"].dim() > 2:
            _linear(captured, node)
        rewrite_padding(captured, node)
        rewrite_pooling(captured, node)
        rewrite_unfolding(captured, node)
    captured.graph.eliminate_dead_code()
    captured.recompile()


def _is_zero_padding(node: Any) -> bool:  # noqa: ANN401
    _, widths, mode, value = (*node.args, "constant", None)[:4] if len(node.args) < 4 else node.args
    assert isinstance(widths, list | tuple)
    return bool(mode == "constant" and not value) and all(isinstance(width, int) and width >= 0 for width in widths)


def _padding(captured: fx.GraphModule, node: Any) -> None:  # noqa: ANN401
    """Concatenate zeros before and after, dimension by dimension from the last; never in the batch."""
    padded, widths = node.args[:2]
    assert isinstance(padded, fx.Node)
    assert isinstance(widths, list | tuple)
    call, shape = captured.graph.call_function, list(padded.meta["val"].shape)
    with captured.graph.inserting_before(node):
        batch = call(aten.sym_size.int, (padded, 0))
        batch.meta["val"] = shape[0]
        for dim, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True), start=1):
            zeros = [
                [call(aten.new_zeros.default, (padded, [batch, *shape[1:-dim], width, *shape[len(shape) - dim + 1 :]]))]
                if width
                else []
                for width in (before, after)
            ]
            if before or after:
                padded = call(aten.cat.default, ([*zeros[0], padded, *zeros[1]], -dim))
                shape[-dim] += before + after
    padded.meta = padded.meta or dict(node.meta)
    node.replace_all_uses_with(padded)
    captured.graph.erase_node(node)


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
    result.meta = dict(node.meta)
    node.replace_all_uses_with(result)
    captured.graph.erase_node(node)


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
    attended.meta = dict(node.meta)
    node.replace_all_uses_with(attended)
    captured.graph.erase_node(node)

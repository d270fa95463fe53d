"""Let the targets of an image share what the tail computes of the image alone.

A derivative is traced with one selector for each image. What does not depend on the selector is the same for all
targets of an image: logits, attention, the slopes of activations. Here it stays as it is, once for each image, and
what depends on the selector works on rows of which `owners` names the image.
"""

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten


def share_images(joint: fx.GraphModule) -> None:
    """Give the rows of the selector a number of their own; changed in place.

    Args:
        joint: From `make_fx`: `(activation, *crossing, selector [B,K]) -> (logits [B,K], gradient [B,C,h,w])`, where
            the size of the batch is the only symbol. It becomes
            `(activation, *crossing, selector [R,K], owners [R]) -> (logits [R,K], gradient [R,C,h,w])`.
    """
    rows = _Rows(joint.graph)
    for node in list(joint.graph.nodes):
        if node in rows.nodes or node.op == "output":
            with joint.graph.inserting_before(node):
                node.args = fx.map_arg(node.args, rows.value_of)
                node.kwargs = fx.map_arg(node.kwargs, rows.value_of)
    joint.graph.eliminate_dead_code()
    joint.graph.lint()
    joint.recompile()


class _Rows:
    """Gives values of images to the rows that they belong to."""

    def __init__(self, graph: fx.Graph) -> None:
        *images, selector = (node for node in graph.nodes if node.op == "placeholder")
        self._graph, self._batch = graph, selector.meta["val"].shape[0]
        self.nodes, self._of_images = {selector}, set(images)
        for node in graph.nodes:
            given = set(node.all_input_nodes)
            if _is_size(node):
                node.args = tuple(images[0] if each is selector else each for each in node.args)
            elif node.op != "output" and self.nodes & given:
                self.nodes.add(node)
            elif self._of_images & given:
                self._of_images.add(node)
        with graph.inserting_after(selector):
            self._owners = graph.placeholder("owners")
        with graph.inserting_after(self._owners):
            self._count = graph.call_function(aten.sym_size.int, (selector, 0))
        self._known: dict[fx.Node, fx.Node] = {}

    def value_of(self, node: fx.Node) -> fx.Node:
        """Return the node's value for each row: itself, if it is one of a row already or the same for all images."""
        if node in self.nodes:
            return node
        if node not in self._known:
            self._known[node] = self._find(node)
        return self._known[node]

    def _find(self, node: fx.Node) -> fx.Node:
        value = node.meta.get("val")
        if _is_size(node):
            return self._count if str(value) == str(self._batch) else self._again(node)
        if isinstance(value, torch.Tensor):
            symbolic = {dim: str(size) for dim, size in enumerate(value.shape) if not isinstance(size, int)}
            if not symbolic:
                return node
            if node in self._of_images and list(symbolic.values()) == [str(self._batch)]:
                return self._graph.call_function(aten.index_select.default, (node, *symbolic, self._owners))
        return self._again(node)

    def _again(self, node: fx.Node) -> fx.Node:
        """Repeat an operation on rows: its result has images and more in one dimension, or is made of sizes."""
        return self._graph.node_copy(node, self.value_of)


def _is_size(node: fx.Node) -> bool:
    value: Any = node.meta.get("val")
    return isinstance(value, torch.SymInt)

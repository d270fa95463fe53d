"""Differentiate the tail: add to its logits their gradient with respect to the activation."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from heatlens.errors import CompileError
from heatlens_torch.errors import INSTEAD, place_of_node, reason
from heatlens_torch.graph import derivatives
from heatlens_torch.graph.any_batch import is_symbolic, symbolic_batch
from heatlens_torch.graph.selector import explained_selector
from heatlens_torch.graph.share import share_images


def differentiate(tail: fx.GraphModule, crossing: Sequence[torch.Tensor], logits: int, *, layer: str) -> fx.GraphModule:
    """Trace the tail together with its gradient.

    Args:
        tail: `(activation, *crossing) -> logits`.
        crossing: Example values in that order, the activation first; their batch is `unique_batch_size`.
        logits: K.
        layer: The target, for messages.

    Returns:
        `(activation, *crossing, selector [R,K], owners [R]) -> (logits [R,K], gradient [R,C,h,w])`: for each row of
        the selector the logits of the image that `owners` names, and the gradient of
        `sum(explained_selector(selector, logits) * logits)` with respect to its activation.

    Raises:
        CompileError: An operator of the tail has no derivative that can be traced, or fixes the batch.
    """
    selector = torch.zeros(crossing[0].shape[0], logits)
    values = _of_any_batch([*crossing, selector])
    watched = _Watched(tail, values[0], layer)
    try:
        trace = make_fx(_with_gradient(watched), derivatives.TABLE, tracing_mode="fake", _allow_non_fake_inputs=True)
        graph: fx.GraphModule = trace(*values)
    except CompileError as error:  # the interpreter has appended lines about its position
        raise CompileError(str(error).partition("\n")[0]) from error
    except Exception as error:  # operators raise many unrelated types
        raise CompileError(f"the network after {layer!r} cannot be differentiated: {reason(error)}") from error
    watched.check("its derivative")
    share_images(graph)
    return graph


class _Watched(fx.Interpreter):
    """Runs the tail and names the operator that fixes the batch, which otherwise would go unnoticed."""

    def __init__(self, tail: fx.GraphModule, activation: torch.Tensor, layer: str) -> None:
        super().__init__(tail)
        self._activation, self._layer = activation, layer

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - what the operator answers
        result = super().run_node(n)
        self.check(f"operator {str(n.target).removeprefix('aten.').partition('.')[0]}{place_of_node(n)}")
        return result

    def check(self, culprit: str) -> None:
        if not is_symbolic(self._activation):
            raise CompileError(
                f"the network after {self._layer!r} works on one size of batch only: {culprit} fixes it; {INSTEAD}"
            )


def _of_any_batch(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    return [symbolic_batch(mode, value) for value in values]


def unique_batch_size(*shapes: Sequence[int]) -> int:
    """Choose a batch size that no other dimension has: tracing gives equal sizes the same symbol."""
    taken = {size for shape in shapes for size in shape}
    return next(size for size in count(3) if size not in taken)


def _with_gradient(tail: fx.Interpreter) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    def explained(*values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        activation, *others, selector = values
        logits, pull = torch.func.vjp(lambda a: tail.run(a, *others), activation)  # type: ignore[misc]  # three with has_aux
        (gradient,) = pull(explained_selector(selector, logits))
        return logits, gradient

    return explained

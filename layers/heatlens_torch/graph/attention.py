"""Find the modules that compute attention: tensors inside them are queries, keys and scores, and no maps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten
_ATTENTION = {
    functional.scaled_dot_product_attention,
    functional.multi_head_attention_forward,
    aten.scaled_dot_product_attention.default,
}
SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax, aten.softmax.int, aten._softmax.default}
_SCORES = 3  # dimensions: at least the batch, and the tokens twice
_BY_HEADS = 4  # dimensions of scores, or keys, that are apart by heads


class Attentions(TorchFunctionMode):
    """While the network runs, notes the innermost module with children around each attention."""

    def __init__(self) -> None:
        super().__init__()
        self._running: list[tuple[str, bool]] = []
        self._found: set[str] = set()
        self._weighing: list[torch.Tensor] = []

    @classmethod
    @contextmanager
    def of(cls, network: nn.Module) -> Iterator[Self]:
        """Watch a network until the block ends."""
        self = cls()
        handles = [handle for name, module in network.named_modules() if name for handle in self._follow(name, module)]
        try:
            with self:
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def around(self, name: str) -> bool:
        """Tell whether the module is inside one that computes attention."""
        return any(name.startswith(f"{outer}.") for outer in self._found)

    def weighs(self, output: torch.Tensor) -> bool:
        """Tell whether a softmax makes weights of places from the output of a module, as attention pooling does."""
        return any(
            output.data_ptr() == scores.data_ptr() and output.numel() == scores.numel() and scores.dim() >= _SCORES
            for scores in self._weighing
        )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what the function answers
        given = kwargs or {}
        if func in SOFTMAX:
            self._weighing.append(_scores_of(args, given))
        if func in _ATTENTION or (func in SOFTMAX and _is_over_tokens(args, given)):
            outer = next((name for name, has_children in reversed(self._running) if has_children), None)
            self._found |= {outer} if outer else set()
        return func(*args, **given)

    def _follow(self, name: str, module: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        entry = (name, next(module.children(), None) is not None)

        def begin(_module: nn.Module, _input: object) -> None:
            self._running.append(entry)

        def end(_module: nn.Module, _input: object, _output: object) -> None:
            self._running.pop()

        return [module.register_forward_pre_hook(begin), module.register_forward_hook(end, always_call=True)]


def _scores_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    scores: torch.Tensor = args[0] if args else kwargs["input"]
    return scores


def _is_over_tokens(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether the weights are of tokens: of the keys, by heads also for one query, as of a class token (CrossViT).

    A factorized attention (CoaT) weighs the keys `[B,heads,N,dim]` themselves along the tokens.
    """
    scores = _scores_of(args, kwargs)
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    by_heads = scores.dim() == _BY_HEADS
    if scores.dim() < _SCORES or scores.shape[-1] == 1 or (scores.shape[-2] == 1 and not by_heads):
        return False
    factorized = by_heads and scores.shape[-2] > 1 and dim in (-2, scores.dim() - 2)
    return factorized or dim in (-1, scores.dim() - 1)

"""Remove a softmax or sigmoid at the end of a network, so that it answers logits.

The probabilities of the application come from the logits. Of a network with its own softmax they would be squashed
twice, and its maps would explain a saturated probability.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from heatlens.errors import CompileError
from heatlens_torch.errors import running
from heatlens_torch.graph.attention import SOFTMAX
from heatlens_torch.loading.call_modes import run_under

aten = torch.ops.aten
NAMES: dict[Any, str] = {
    **dict.fromkeys(SOFTMAX, "softmax"),
    torch.log_softmax: "log_softmax",
    torch.Tensor.log_softmax: "log_softmax",
    functional.log_softmax: "log_softmax",
    aten.log_softmax.int: "log_softmax",
    aten._log_softmax.default: "log_softmax",
    torch.sigmoid: "sigmoid",
    torch.Tensor.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    aten.sigmoid.default: "sigmoid",
    functional.logsigmoid: "logsigmoid",
    aten.log_sigmoid.default: "logsigmoid",
}
SAMPLES = 4
CERTAIN = 1e-4  # how far the sums of rows may be from 1


def remove_final_activation(network: nn.Module, image: torch.Tensor) -> str | None:
    """Let the network answer what goes into its last softmax or sigmoid, where that is its answer.

    Args:
        network: In evaluation mode, answering one tensor; changed in place.
        image: `[B,C,H,W]`; its shape is used.

    Returns:
        The name of what was removed.

    Raises:
        CompileError: The answers are probabilities by their sums, and no such activation makes them.
    """
    batch = torch.randn(SAMPLES, *image.shape[1:], generator=torch.Generator().manual_seed(0))
    watched = _Watching()
    with running(batch.shape, network), torch.no_grad(), watched:
        answer = network(batch)
    found = watched.maker_of(answer)
    if found is not None:
        index, name = found
        run_under(network, lambda: _LeavingOut(index))
        return name
    if _sums_to_one(answer):
        raise CompileError(
            "the network answers probabilities: every row sums to 1, but no softmax at its end makes them. Let it "
            "return its logits: a map explains a logit"
        )
    return None


def _sums_to_one(answer: torch.Tensor) -> bool:
    if answer.dim() != 2 or answer.shape[1] < 2 or bool((answer < 0).any()):
        return False
    return bool(((answer.sum(dim=1) - 1).abs() < CERTAIN).all())


class _Watching(TorchFunctionMode):
    """Notes every activation that runs, with its result."""

    def __init__(self) -> None:
        super().__init__()
        self._results: list[tuple[str, torch.Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - what the function answers
        result = func(*args, **(kwargs or {}))
        if func in NAMES:
            self._results.append((NAMES[func], result))
        return result

    def maker_of(self, answer: torch.Tensor) -> tuple[int, str] | None:
        """Return the number and name of the activation whose result the answer is, or a view of it."""
        for index, (name, result) in enumerate(self._results):
            same = answer.data_ptr() == result.data_ptr() and answer.numel() == result.numel()
            if same and torch.equal(answer.flatten(), result.flatten()):
                return index, name
        return None


class _LeavingOut(TorchFunctionMode):
    """Answers what goes into one of the activations, counted in the order in which they run."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self._left = index

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - what the function answers
        if func in NAMES:
            self._left -= 1
            if self._left == -1:
                return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))

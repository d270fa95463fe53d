"""Let networks be differentiated that overwrite in place what an activation needs for its derivative.

`x *= gate` after a ReLU computes what it should, and only autograd refuses it. A copy of the activation's result
changes no value.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from heatlens_torch.errors import running
from heatlens_torch.loading.call_modes import run_under

# The derivative of these is computed from their result.
_KEEP_RESULT = {
    *(torch.relu, torch.Tensor.relu, functional.relu),
    *(torch.sigmoid, torch.Tensor.sigmoid, functional.sigmoid),
    *(torch.tanh, torch.Tensor.tanh, functional.tanh),
    *(torch.exp, torch.Tensor.exp, torch.sqrt, torch.Tensor.sqrt, torch.rsqrt, torch.Tensor.rsqrt),
    *(torch.softmax, torch.Tensor.softmax, functional.softmax),
}
_OVERWRITTEN = "modified by an inplace operation"


def allow_in_place(network: nn.Module, image: torch.Tensor) -> bool:
    """Copy the results of activations, if autograd cannot differentiate the network without it.

    Args:
        network: In evaluation mode, answering one tensor; changed in place.
        image: `[B,C,H,W]`; its shape is used.

    Returns:
        Whether they are copied.
    """
    # One image: a pass that keeps all activations takes the most memory of a compile.
    noise = torch.randn(1, *image.shape[1:], generator=torch.Generator().manual_seed(0)).requires_grad_()
    with running(noise.shape, network), torch.enable_grad():
        answer = network(noise)
    if not answer.requires_grad:
        return False
    try:
        torch.autograd.grad(answer.sum(), noise, allow_unused=True)
    except RuntimeError as error:
        if _OVERWRITTEN not in str(error):
            return False
        run_under(network, _Copying)
        return True
    return False


class _Copying(TorchFunctionMode):
    """Copies the result of an activation, unless it overwrites its input."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - what the function answers
        result = func(*args, **(kwargs or {}))
        copied = func in _KEEP_RESULT and not any(result is each for each in args)
        return result.clone() if copied else result

"""Find the operator through which a network's logits lose their gradient."""

import traceback
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from heatlens_torch.errors import WITHOUT_GRADIENTS, place_of

# Their derivative is 0 wherever it exists.
STEPS = frozenset({"round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside", "floor_divide"})
_UNKNOWN = "detach(), no_grad() or numbers taken out of tensors lie"


def refusal(network: nn.Module, image: torch.Tensor) -> str:
    """Say what lies between the logits and the image, and the way out."""
    culprit = lost_at(network, image)
    return f"{f'{culprit} lies' if culprit else _UNKNOWN} between; {WITHOUT_GRADIENTS}"


def lost_at(network: nn.Module, image: torch.Tensor) -> str | None:
    """Name the first operator behind which the logits no longer depend on the image in a way that has a derivative.

    Args:
        network: In evaluation mode.
        image: `[B,3,H,W]`.

    Returns:
        The operator and the line of the user's code that calls it; `None` if there is none.
    """
    with _Watch() as watch, torch.enable_grad():
        given = image.detach().clone().requires_grad_()
        watch.follow(given)
        logits = network(given)
    return watch.lost(logits) if isinstance(logits, torch.Tensor) else None


class _Watch(TorchFunctionMode):
    """Follows what depends on the image, and notes for each tensor the operator that took its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self._followed: dict[int, tuple[torch.Tensor, str | None]] = {}  # the tensor is kept, and so its id

    def follow(self, tensor: torch.Tensor, culprit: str | None = None) -> None:
        self._followed[id(tensor)] = tensor, culprit

    def lost(self, tensor: torch.Tensor) -> str | None:
        return self._followed.get(id(tensor), (None, None))[1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        sources = [each for each in _tensors((args, kwargs or {})) if id(each) in self._followed]
        culprits = [self.lost(each) for each in sources]
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result) if sources else ():
            if None not in culprits:
                self.follow(tensor, culprits[0])
            elif tensor.requires_grad and _name(func).rstrip("_") not in STEPS:
                self.follow(tensor)
            else:
                self.follow(tensor, _described(func))
        return result


def _described(func: Any) -> str:  # noqa: ANN401 - any callable of torch
    under = "" if torch.is_grad_enabled() or _name(func) == "detach" else " under no_grad()"
    return f"operator {_name(func)}{under}{place_of(traceback.extract_stack())}"


def _name(func: Any) -> str:  # noqa: ANN401 - any callable of torch
    """Return an operator's name; a property of tensors is called by its descriptor."""
    if isinstance(func, torch._ops.OpOverload):
        return str(func).removesuffix(".default")
    name = str(getattr(func, "__name__", func))
    return str(getattr(getattr(func, "__self__", None), "__name__", name)) if name == "__get__" else name


def _tensors(values: object) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)

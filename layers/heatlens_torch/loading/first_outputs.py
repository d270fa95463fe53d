"""Give the first tensor of a module that answers a tuple a name, so that it can be a target layer.

Blocks of transformers answer `(tokens, attention weights)`, and the sum with their shortcut is no module's own answer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from heatlens_torch.errors import running

NAME = "first_output"
_LIBRARIES = ("torch.", "heatlens_torch.")  # their modules answer tuples for other reasons, or run all their children
_DIMENSIONS = (3, 4)  # of a grid


def name_first_outputs(network: nn.Module, image: torch.Tensor) -> list[str]:
    """Pass the first tensor of each module that answers a tuple through a module `first_output` inside it.

    A tensor that a module answers alone has a name already. Of nested modules that answer the same tensor, only the
    outermost gets the name. No value and no weight changes.

    Args:
        network: In evaluation mode, answering one tensor; changed in place.
        image: `[B,C,H,W]`; its shape is used.

    Returns:
        The paths of the new modules.
    """
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    alone: list[torch.Tensor] = []  # kept, so that no other tensor gets the same id
    first: dict[int, tuple[str, torch.Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        def note(module: nn.Module, _input: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                alone.append(output)
            elif (value := _first(output, len(noise))) is not None and not _of_library(module):
                first[id(value)] = name, value

        return note

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        with running(image.shape, network), torch.no_grad():
            network(noise)
    finally:
        for handle in handles:
            handle.remove()
    named = {id(value) for value in alone}
    paths = dict.fromkeys(path for key, (path, _) in first.items() if key not in named)
    for path in paths:
        _add(network.get_submodule(path))
    return [f"{path}.{NAME}" for path in paths]


def _first(output: object, images: int) -> torch.Tensor | None:
    """Return the first entry of a plain tuple or list, if it can be a grid."""
    if type(output) not in (tuple, list) or not output:
        return None
    value = output[0]  # type: ignore[index]
    fits = isinstance(value, torch.Tensor) and value.dim() in _DIMENSIONS and value.is_floating_point()
    return value if fits and value.shape[0] == images else None


def _of_library(module: nn.Module) -> bool:
    return type(module).__module__.startswith(_LIBRARIES) or isinstance(module, nn.Sequential)


def _add(module: nn.Module) -> None:
    named = nn.Identity()
    module.add_module(NAME, named)

    def pass_first(_module: nn.Module, _input: object, output: Any) -> Any:  # noqa: ANN401 - a tuple or list
        return type(output)([named(output[0]), *output[1:]])

    module.register_forward_hook(pass_first)

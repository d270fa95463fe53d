"""Refuse a network whose answer to an image depends on chance, or on the other images of its batch."""

from dataclasses import dataclass

import torch
from torch import nn

from heatlens.errors import CompileError
from heatlens_torch.errors import running

IMAGES = 3
TOLERANCE = 1e-3  # of the largest value; rounding in batches of another size stays below 1e-4


@dataclass(frozen=True, slots=True)
class _Output:
    name: str
    kind: str
    value: torch.Tensor


def check_single_images(network: nn.Module, image: torch.Tensor) -> None:
    """Compare the answers to a batch with those to the same batch again, and to its images alone.

    A server puts images of several callers into one batch: a network that normalizes by its batch would mix them.

    Args:
        network: In evaluation mode, answering one tensor.
        image: `[B,C,H,W]`; its shape is used.

    Raises:
        CompileError: An answer differs; the message names the module where the difference starts.
    """
    batch = torch.randn(IMAGES, *image.shape[1:], generator=torch.Generator().manual_seed(0))
    together = _answer(network, batch)
    if _differ(_answer(network, batch), together):
        raise CompileError(
            f"the network answers the same image differently each time: {_culprit(network, batch, batch)} draws random "
            "numbers, as dropout does in training; compile the network without it, or as it is in evaluation mode"
        )
    if any(_differ(_answer(network, batch[i : i + 1]), together[i : i + 1]) for i in range(IMAGES)):
        raise CompileError(
            "the network's answer to an image depends on the other images of its batch, which may be other callers': "
            f"{_culprit(network, batch, batch[:1])} mixes them, as a BatchNorm does in training or without running "
            "statistics; give it running statistics (track_running_stats=True)"
        )


def _answer(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    with running(batch.shape, network), torch.no_grad():
        answer: torch.Tensor = network(batch)
    return answer


def _differ(answer: torch.Tensor, expected: torch.Tensor) -> bool:
    if answer.shape != expected.shape:
        return True
    if not answer.is_floating_point() or not bool(expected.isfinite().all()):
        return False  # refused elsewhere, by name
    return bool((answer - expected).abs().max() > TOLERANCE * expected.abs().max())


def _culprit(network: nn.Module, batch: torch.Tensor, other: torch.Tensor) -> str:
    """Name the first module to end with another output for the same first image."""
    for one, two in zip(_outputs(network, batch), _outputs(network, other), strict=False):
        if one.name != two.name or one.value.shape[1:] != two.value.shape[1:]:
            break
        if len(one.value) == len(batch) and len(two.value) == len(other) and _differ(two.value[:1], one.value[:1]):
            return f"{one.name!r} ({one.kind})"
    return "an operation in its forward()"


def _outputs(network: nn.Module, batch: torch.Tensor) -> list[_Output]:
    seen: list[_Output] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, _input: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.dim() > 0:
                seen.append(_Output(name, type(module).__name__, output.clone()))

        return module.register_forward_hook(note)

    handles = [watch(name, module) for name, module in network.named_modules() if name]
    try:
        _answer(network, batch)
    finally:
        for handle in handles:
            handle.remove()
    return seen

"""What the target layer does when the network runs: network and layer -> activation shape and logits, or why not."""

from dataclasses import dataclass

import torch
from torch import nn

from heatlens.errors import CompileError


@dataclass(frozen=True, slots=True)
class Probe:
    """`shape` is the activation's `(C, h, w)`; `logits` is how many the network answers."""

    shape: tuple[int, int, int]
    logits: int


def probe(network: nn.Module, layer: str, image: torch.Tensor) -> Probe:
    """Run the network once and watch the layer.

    Args:
        network: In evaluation mode.
        layer: Module path of the target.
        image: `[B,3,H,W]`.

    Raises:
        CompileError: No such layer; it runs never or several times; its output is not `[B,C,h,w]`, or is overwritten in
            place afterwards, so that pytorch-grad-cam itself would read other activations than were differentiated;
            or the network's output is not `[B,K]`.
    """
    seen: list[tuple[object, object]] = []
    handle = target(network, layer).register_forward_hook(lambda _module, _input, out: seen.append((out, _copy(out))))
    try:
        with torch.no_grad():
            logits = network(image)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CompileError(f"the network does not run on an image batch of shape {tuple(image.shape)}") from error
    finally:
        handle.remove()
    if len(seen) != 1:
        raise CompileError(f"layer {layer!r} runs {len(seen)} times per image, but a target must run exactly once")
    activation = _activation(*seen[0], layer)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise CompileError("the network's output is not one tensor of logits [B,K]")
    _, channels, height, width = activation.shape
    return Probe((channels, height, width), logits.shape[1])


def target(network: nn.Module, layer: str) -> nn.Module:
    """The module at the path `layer`; a `CompileError` names the nearest layers that exist."""
    try:
        return network.get_submodule(layer)
    except AttributeError as error:
        parent = layer
        while "." in parent and not _has(network, parent):
            parent = parent.rpartition(".")[0]
        inside = parent if _has(network, parent) else ""
        children = [name for name, _ in network.get_submodule(inside).named_children()]
        place = f"{inside!r} has" if inside else "the network has"
        raise CompileError(f"there is no layer {layer!r}: {place} {', '.join(children) or 'none'}") from error


def _has(network: nn.Module, path: str) -> bool:
    try:
        network.get_submodule(path)
    except AttributeError:
        return False
    return True


def _copy(output: object) -> object:
    return output.clone() if isinstance(output, torch.Tensor) else None


def _activation(output: object, before: object, layer: str) -> torch.Tensor:
    if not isinstance(output, torch.Tensor) or not isinstance(before, torch.Tensor) or output.dim() != 4:
        raise CompileError(f"layer {layer!r} does not answer one tensor [B,C,h,w]")
    if not torch.equal(output, before):
        raise CompileError(
            f"the output of layer {layer!r} is overwritten in place by what follows (an in-place activation or sum): "
            "choose the layer that ends after it, or one before the overwritten layer"
        )
    return output

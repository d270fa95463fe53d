"""Run the network once to see the target layer's grid and the number of logits, or why it cannot be explained."""

from dataclasses import dataclass

import torch
from torch import nn

from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.errors import running
from heatlens_torch.graph import places
from heatlens_torch.graph.grids import Layout, layout_of, layouts
from heatlens_torch.graph.layers import default_layer, gradients
from heatlens_torch.graph.undifferentiable import lost_at, refusal


@dataclass(frozen=True, slots=True)
class Probe:
    """`layout` is that of the layer's output, `logits` the number of logits."""

    layout: Layout
    logits: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """The activation's `(C, h, w)`."""
        return self.layout.shape


def probe(
    network: nn.Module,
    layer: str,
    image: torch.Tensor,
    *,
    grid: tuple[int, int] | None = None,
    class_tokens: int | None = None,
    layout: Layout | None = None,
    gradients: bool = True,
) -> Probe:
    """Run the network once and watch the layer.

    Args:
        network: In evaluation mode.
        layer: Module path of the target.
        image: `[B,3,H,W]`.
        grid: Height and width of the layer's grid, if they are known.
        class_tokens: With `grid`, how many tokens come before the cells; by default all tokens that are not cells.
        layout: Of the layer's output without a `grid`, where `default_target` has found it by the same measurement.
        gradients: Whether the logits must have a gradient there.

    Raises:
        ModelFileError: The layer's output cannot have the given grid, or that grid does not follow the image.
        CompileError: There is no such layer; it does not run exactly once; its output is no grid that follows the
            image (`[B,C,h,w]`, `[B,h,w,C]`, or tokens `[B,N,C]`) or is overwritten in place afterwards, so that
            pytorch-grad-cam itself would read other activations than were differentiated; or the network's output is
            not `[B,K]` or not finite.
    """
    activation, logits = _watch(network, layer, image)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise CompileError("the network's output is not one tensor of logits [B,K]")
    if not logits.isfinite().all():
        raise CompileError("the network returns logits that are not finite: check its weights")
    if gradients:
        _check_gradient(network, layer, image)
    if grid is None:
        return Probe(layout or _layout(network, layer, activation, image), logits.shape[1])
    try:
        layout = layout_of(activation.shape[1:], grid, class_tokens)
    except ValueError as error:
        raise ModelFileError(f"grid: layer {layer!r} {error}") from error
    if not places.measure(network, layer, layout, image).follow(layout):
        raise ModelFileError(
            f"grid: layer {layer!r} does not follow the image as {grid[0]}x{grid[1]} cells: where the image is "
            f"disturbed, other cells change{_usable(network, layer, image)}"
        )
    return Probe(layout, logits.shape[1])


def _watch(network: nn.Module, layer: str, image: torch.Tensor) -> tuple[torch.Tensor, object]:
    """Return the outputs of the layer and of the network."""
    seen: list[tuple[object, object]] = []
    handle = target(network, layer).register_forward_hook(lambda _module, _input, out: seen.append((out, _copy(out))))
    try:
        with running(image.shape, network), torch.no_grad():
            logits = network(image)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise CompileError(f"layer {layer!r} runs {len(seen)} times per image, but a target must run exactly once")
    return _activation(*seen[0], layer), logits


def _check_gradient(network: nn.Module, layer: str, image: torch.Tensor) -> None:
    """Refuse a layer from which the logits cannot be differentiated."""
    outputs: list[torch.Tensor] = []

    def begin_here(_module: nn.Module, _input: object, output: torch.Tensor) -> torch.Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1].clone()  # what follows may overwrite it

    handle = target(network, layer).register_forward_hook(begin_here)
    try:
        with running(image.shape, network), torch.enable_grad():
            logits = network(image)
    finally:
        handle.remove()
    [gradient] = gradients(logits.sum(), outputs) if logits.requires_grad else [None]
    if gradient is None or not (gradient.any() or lost_at(network, image) is None):
        raise CompileError(
            f"the logits cannot be differentiated with respect to layer {layer!r}: {refusal(network, image)}"
            f"{_usable(network, layer, image)}"
        )


def _layout(network: nn.Module, layer: str, activation: torch.Tensor, image: torch.Tensor) -> Layout:
    """Find the likeliest grid that follows the image."""
    height, width = image.shape[2:]
    possible = layouts(activation.shape[1:], (height, width))
    if not possible:
        raise CompileError(
            f"layer {layer!r} answers {activation.shape[1]} tokens, which are no grid over an input of "
            f"{height}x{width}: say which with grid = [height, width]"
        )
    found = places.following(network, {layer: possible}, image)[layer]
    if found is None:
        hint = ". If you know its grid, say grid = [height, width]" if activation.dim() == 3 else ""
        raise CompileError(
            f"layer {layer!r} answers {tuple(activation.shape[1:])}, and no grid of these follows the image: where "
            f"the image is disturbed, other cells change{_usable(network, layer, image)}{hint}"
        )
    if found.height * found.width == 1:
        raise CompileError(
            f"layer {layer!r} answers one cell, so its map would say nothing about places"
            f"{_usable(network, layer, image)}"
        )
    return found


def _usable(network: nn.Module, layer: str, image: torch.Tensor) -> str:
    """Name a layer to choose instead, where there is one."""
    channels, height, width = image.shape[1:]
    try:
        name = default_layer(network, (height, width), channels=channels)
    except CompileError:
        return ""
    return f"; choose {name!r} instead" if name != layer else ""


def target(network: nn.Module, layer: str) -> nn.Module:
    """Return the module at the path `layer`.

    Raises:
        CompileError: There is none; the message names the nearest layers that exist.
    """
    try:
        return network.get_submodule(layer)
    except AttributeError as error:
        parent = layer
        while "." in parent and not _has(network, parent):
            parent = parent.rpartition(".")[0]
        inside = parent if _has(network, parent) else ""
        children = [name for name, _ in network.get_submodule(inside).named_children()]
        place = f"{inside!r} has" if inside else "the network has"
        raise CompileError(f"layer: there is no layer {layer!r}: {place} {', '.join(children) or 'none'}") from error


def _has(network: nn.Module, path: str) -> bool:
    try:
        network.get_submodule(path)
    except AttributeError:
        return False
    return True


def _copy(output: object) -> object:
    return output.clone() if isinstance(output, torch.Tensor) else None


def _activation(output: object, before: object, layer: str) -> torch.Tensor:
    if not isinstance(output, torch.Tensor) or not isinstance(before, torch.Tensor) or output.dim() not in (3, 4):
        raise CompileError(f"layer {layer!r} does not answer one tensor [B,C,h,w], [B,h,w,C] or [B,N,C]")
    if not torch.equal(output, before):
        raise CompileError(
            f"the output of layer {layer!r} is overwritten in place by what follows (an in-place activation or sum): "
            "choose the layer that ends after it, or one before the overwritten layer"
        )
    return output

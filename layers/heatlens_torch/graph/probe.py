"""Run the network once to see the target layer's grid and the number of logits, or why it cannot be explained."""

from dataclasses import dataclass

import torch
from torch import nn

from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.errors import running
from heatlens_torch.graph.grids import Layout, layout_of, layouts

PLACES = 9  # cells under which the image is disturbed, to see whether the same cell changes
AGREEING_SHARE = 0.5
NOISE = 2.0  # in units of the normalized image


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
) -> Probe:
    """Run the network once and watch the layer.

    Args:
        network: In evaluation mode.
        layer: Module path of the target.
        image: `[B,3,H,W]`.
        grid: Height and width of the layer's grid, if they are known.
        class_tokens: With `grid`, how many tokens come before the cells; by default all tokens that are not cells.

    Raises:
        ModelFileError: The layer's output cannot have the given grid.
        CompileError: There is no such layer; it does not run exactly once; its output is no grid (`[B,C,h,w]`,
            `[B,h,w,C]`, or tokens `[B,N,C]` that follow the image) or is overwritten in place afterwards, so that
            pytorch-grad-cam itself would read other activations than were differentiated; or the network's output is
            not `[B,K]` or not finite.
    """
    activation, logits = _watch(network, layer, image)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise CompileError("the network's output is not one tensor of logits [B,K]")
    if not logits.isfinite().all():
        raise CompileError("the network returns logits that are not finite: check its weights")
    if grid is None:
        return Probe(_layout(network, layer, activation, image), logits.shape[1])
    try:
        return Probe(layout_of(activation.shape[1:], grid, class_tokens), logits.shape[1])
    except ValueError as error:
        raise ModelFileError(f"grid: layer {layer!r} {error}") from error


def _watch(network: nn.Module, layer: str, image: torch.Tensor) -> tuple[torch.Tensor, object]:
    """Return the outputs of the layer and of the network."""
    seen: list[tuple[object, object]] = []
    handle = target(network, layer).register_forward_hook(lambda _module, _input, out: seen.append((out, _copy(out))))
    try:
        with running(image.shape), torch.no_grad():
            logits = network(image)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise CompileError(f"layer {layer!r} runs {len(seen)} times per image, but a target must run exactly once")
    return _activation(*seen[0], layer), logits


def _layout(network: nn.Module, layer: str, activation: torch.Tensor, image: torch.Tensor) -> Layout:
    """Find the likeliest grid; where the shape alone is ambiguous, the likeliest that follows the image."""
    height, width = image.shape[2:]
    possible = layouts(activation.shape[1:], (height, width))
    if not possible:
        raise CompileError(
            f"layer {layer!r} answers {activation.shape[1]} tokens, which are no grid over an input of "
            f"{height}x{width}: say which with grid = [height, width]"
        )
    if len(possible) == 1 and possible[0].tokens is None:
        return possible[0]
    for layout in possible:
        if _follows(network, layer, layout, image[:1]):
            return layout
    # A map whose cells see much of the image follows it loosely. Tokens that do not follow it cannot be guessed.
    if activation.dim() == 4:
        return possible[0]
    raise CompileError(
        f"layer {layer!r} answers {tuple(activation.shape[1:])}, and no grid of these follows the image: "
        "where the image is disturbed, other cells change. If you know it, say grid = [height, width]"
    )


def _follows(network: nn.Module, layer: str, layout: Layout, image: torch.Tensor) -> bool:
    """Tell whether disturbing the image under a cell changes that cell most, at half of the places tried or more.

    The mean change over all places (of tokens that summarize the image) is subtracted first.
    """
    _, height, width = layout.shape
    places = torch.linspace(0, height * width - 1, min(PLACES, height * width)).round().long()
    batch = image.repeat(len(places) + 1, 1, 1, 1)
    rng = torch.Generator().manual_seed(0)
    for row, place in enumerate(places.tolist(), start=1):
        rows, columns = _span(place // width, height, image.shape[2]), _span(place % width, width, image.shape[3])
        part = batch[row, :, rows, columns]
        part += NOISE * torch.randn(part.shape, generator=rng)
    cells = layout.grid(_watch(network, layer, batch)[0])
    response = (cells[1:] - cells[:1]).norm(dim=1).flatten(1)
    most = (response - response.mean(dim=0)).argmax(dim=1)
    return bool((most == places).float().mean() >= AGREEING_SHARE)


def _span(cell: int, cells: int, pixels: int) -> slice:
    return slice(cell * pixels // cells, (cell + 1) * pixels // cells)


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

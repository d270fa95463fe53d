"""Read a layer's output, `[B,C,h,w]`, `[B,h,w,C]` or `[B,N,C]`, as a grid of cells `[B,C,h,w]`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from heatlens.card import Tokens

aten = torch.ops.aten
MOST_EXTRA_TOKENS = 8  # a class token, a distillation token, registers
# The largest ratio of the sides of what a cell covers of the image; patches are square.
SQUARENESS = {"map": 1.6, "patch": 1.15}


@dataclass(frozen=True, slots=True)
class Layout:
    """A grid of `height` x `width` cells of `channels` values; `tokens` is set where it is not laid out `[B,C,h,w]`."""

    channels: int
    height: int
    width: int
    tokens: Tokens | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, h, w)`."""
        return self.channels, self.height, self.width

    def holds(self, shape: Sequence[int]) -> bool:
        """Tell whether an output of this shape, without its batch, can have this layout."""
        if self.tokens is None:
            return tuple(shape) == self.shape
        if self.tokens.order == "channels_last":
            return tuple(shape) == (self.height, self.width, self.channels)
        rows = self.height * self.width + self.tokens.before + self.tokens.after
        return tuple(shape) == (rows, self.channels)

    def grid(self, output: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, or its gradient, as `[B,C,h,w]`."""
        if self.tokens is None:
            return output
        if self.tokens.order == "channels_last":
            return output.permute(0, 3, 1, 2)
        start = self.tokens.before
        cells = output[:, start : start + self.height * self.width].transpose(1, 2)
        return cells.reshape(cells.shape[0], self.channels, self.height, self.width)

    def masked(self, output: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Multiply the cells of the layer's output, in its own form, by a mask `[h,w]`; other tokens are kept."""
        if self.tokens is None:
            return output * mask
        if self.tokens.order == "channels_last":
            return output * mask[:, :, None]
        changed, start = output.clone(), self.tokens.before
        changed[:, start : start + mask.numel()] *= mask.reshape(-1, 1)
        return changed


def layouts(shape: Sequence[int], image: tuple[int, int]) -> list[Layout]:
    """List the layouts that an output of this shape can have over the image, the likeliest first.

    Args:
        shape: The output's, without its batch.
        image: Height and width of the network's input.

    Returns:
        Grids whose cells are about square on the image; a four-dimensional output without such a grid is `[B,C,h,w]`.
        Rows of tokens hold the cells row by row, and up to eight other tokens before or after them.
    """
    if len(shape) == 3:
        first = Layout(shape[0], shape[1], shape[2])
        last = Layout(shape[2], shape[0], shape[1], Tokens(order="channels_last"))
        fitting = [layout for layout in (first, last) if _is_square(layout, image)]
        return sorted(fitting, key=lambda layout: _oblongness(layout, image)) or [first]
    if len(shape) == 2:
        tokens, channels = shape
        return [layout for extra in range(MOST_EXTRA_TOKENS + 1) for layout in _rows(tokens, channels, extra, image)]
    return []


def layout_of(shape: Sequence[int], grid: tuple[int, int], before: int | None = None) -> Layout:
    """Return the layout of an output whose grid is known.

    Args:
        shape: The output's, without its batch.
        grid: Height and width in cells.
        before: Tokens before the cells; by default all tokens that are not cells.

    Raises:
        ValueError: The output cannot have this grid; the message says what it has.
    """
    height, width = grid
    cells = height * width
    if len(shape) == 2:
        tokens, channels = shape
        others = tokens - cells
        if others < (before or 0):
            first = f" and {before} before them" if before else ""
            raise ValueError(f"has {tokens} tokens, fewer than {height}x{width} cells{first}")
        if before is None and others > MOST_EXTRA_TOKENS:
            raise ValueError(f"has {tokens} tokens, {others} more than {height}x{width} cells: is it the right grid?")
        before = others if before is None else before
        after = others - before
        return Layout(channels, height, width, Tokens(order="rows", before=before, after=after))
    if tuple(shape[1:]) == grid:
        return Layout(shape[0], height, width)
    if tuple(shape[:2]) == grid:
        return Layout(shape[2], height, width, Tokens(order="channels_last"))
    raise ValueError(f"answers {tuple(shape)}, which is no map of {height}x{width} cells")


def regrid(captured: fx.GraphModule, output: fx.Node, layout: Layout) -> fx.Node:
    """Insert a conversion of `output` to the grid and back into the graph; return the grid's node.

    The graph computes the same. Tokens that are not cells bypass the grid, and so cross a cut there.
    """
    if layout.tokens is None:
        return output
    users, call = list(output.users), captured.graph.call_function
    with captured.graph.inserting_after(output):
        anchor = call(aten.alias.default, (output,))  # a fixed place, so that the nodes below stay in order
    with captured.graph.inserting_before(anchor):
        if layout.tokens.order == "channels_last":
            grid = call(aten.permute.default, (output, [0, 3, 1, 2]))
            again = call(aten.permute.default, (grid, [0, 2, 3, 1]))
        else:
            start, count = layout.tokens.before, layout.height * layout.width
            cells = call(aten.slice.Tensor, (output, 1, start, start + count))
            upright = call(aten.permute.default, (cells, [0, 2, 1]))
            grid = call(aten.unflatten.int, (upright, 2, [layout.height, layout.width]))
            flat = call(aten.flatten.using_ints, (grid, 2, 3))
            parts = [call(aten.permute.default, (flat, [0, 2, 1]))]
            if start:
                parts.insert(0, call(aten.slice.Tensor, (output, 1, 0, start)))
            if layout.tokens.after:
                parts.append(call(aten.slice.Tensor, (output, 1, start + count, start + count + layout.tokens.after)))
            again = call(aten.cat.default, (parts, 1)) if len(parts) > 1 else parts[0]
    grid.meta = output.meta | {"val": layout.grid(output.meta["val"])}
    for user in users:
        user.replace_input_with(output, again)
    captured.graph.erase_node(anchor)
    captured.recompile()
    return grid


def _rows(tokens: int, channels: int, extra: int, image: tuple[int, int]) -> list[Layout]:
    cells = tokens - extra
    heights = [height for height in range(1, cells + 1) if cells % height == 0]
    ends = [(extra, 0)] if extra == 0 else [(extra, 0), (0, extra)]
    found = [
        Layout(channels, height, cells // height, Tokens(order="rows", before=before, after=after))
        for height in heights
        for before, after in ends
    ]
    return [layout for layout in found if cells > 1 and _is_square(layout, image, "patch")]


def _is_square(layout: Layout, image: tuple[int, int], kind: str = "map") -> bool:
    return _oblongness(layout, image) < math.log(SQUARENESS[kind])


def _oblongness(layout: Layout, image: tuple[int, int]) -> float:
    height, width = image
    return abs(math.log((height / layout.height) / (width / layout.width)))

"""Where the cells of a layer's output lie: tensor [B,C,h,w], [B,h,w,C] or [B,N,C] -> the grid [B,C,h,w], and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from heatlens.card import Tokens

aten = torch.ops.aten
MOST_EXTRA_TOKENS = 8  # a class token, a distillation token, registers
# A cell covers a part of the image that is at most so much longer than wide; patches are cut square.
SQUARENESS = {"map": 1.6, "patch": 1.15}


@dataclass(frozen=True, slots=True)
class Layout:
    """A grid of `height` x `width` cells of `channels` values; `tokens` says how else than `[B,C,h,w]` they lie."""

    channels: int
    height: int
    width: int
    tokens: Tokens | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, h, w)`."""
        return self.channels, self.height, self.width

    def holds(self, shape: Sequence[int]) -> bool:
        """Whether an output of this shape, without its batch, can be this layout's."""
        if self.tokens is None:
            return tuple(shape) == self.shape
        if self.tokens.order == "channels_last":
            return tuple(shape) == (self.height, self.width, self.channels)
        rows = self.height * self.width + self.tokens.before + self.tokens.after
        return tuple(shape) == (rows, self.channels)

    def grid(self, output: torch.Tensor) -> torch.Tensor:
        """The layer's output, or its gradient, as `[B,C,h,w]`."""
        if self.tokens is None:
            return output
        if self.tokens.order == "channels_last":
            return output.permute(0, 3, 1, 2)
        start = self.tokens.before
        cells = output[:, start : start + self.height * self.width].transpose(1, 2)
        return cells.reshape(cells.shape[0], self.channels, self.height, self.width)


def layouts(shape: Sequence[int], image: tuple[int, int]) -> list[Layout]:
    """How an output of this shape can be a grid over the image, the likeliest first.

    Args:
        shape: Of the output, without its batch.
        image: Height and width of the network's input.

    Returns:
        Grids whose cells are about square on the image; a four-dimensional output that has none is `[B,C,h,w]`.
        Tokens in a row have their grid's cells row by row, and up to eight others before or after them.
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
    """The layout of an output whose grid is known.

    Args:
        shape: Of the output, without its batch.
        grid: Height and width in cells.
        before: Tokens before the cells; by default all that are no cells.

    Raises:
        ValueError: The output cannot have this grid; the sentence says what it has.
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
    """Let the graph pass through the grid behind `output`, which changes nothing; return the grid's node.

    What a row of tokens holds beside its cells goes round the grid, and so crosses a cut there.
    """
    if layout.tokens is None:
        return output
    users, call = list(output.users), captured.graph.call_function
    with captured.graph.inserting_after(output):
        anchor = call(aten.alias.default, (output,))  # a fixed place: what is inserted before it comes in order
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

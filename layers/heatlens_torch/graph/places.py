"""Disturb the image under single cells of a layer's grid, and see whether those cells answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from heatlens_torch.batch_size import limit_batch
from heatlens_torch.graph.grids import Layout

PLACES_PER_SIDE = 4
FINEST = 16  # cells per side; finer grids are pooled to it, because few pixels alone disturb little
IMAGES = 2
NOISE = 2.0  # in units of the normalized image
AT_ONCE = 8  # disturbed images in one batch
FLOOR = 1e-3  # of the largest response; below it a response counts as none
# The least share of the strongest response that lies at the disturbed cell itself. Measured on seeded networks: cells
# of convolutions reach 0.43 or more (strides shift them by up to half a cell), tokens 0.9; attention matrices, flipped,
# turned and permuted maps stay below 0.3.
LEAST_SHARE = {"map": 0.4, "rows": 0.6}
# The natural logarithm of how far a response stands out at its strongest cell. Below it every cell of a map sees the
# whole image (a 2x2 grid at the end of a deep network), and nothing can be said about its places.
LOCAL = 0.5


@dataclass(frozen=True, slots=True)
class Places:
    """How a grid answers where the image is disturbed.

    `share` is the response at the disturbed cells relative to the strongest one: in the whole grid, in their row, or
    in their column, whichever is the least. `contrast` is how far the strongest stands out, as a logarithm.
    """

    share: float
    contrast: float

    def follow(self, layout: Layout) -> bool:
        """Tell whether the cells are places of the image; a map whose cells all see all of it counts as following."""
        if layout.tokens is not None and layout.tokens.order == "rows":
            return self.share >= LEAST_SHARE["rows"]
        return self.share >= LEAST_SHARE["map"] or self.contrast < LOCAL


def following(
    network: nn.Module, possible: Mapping[str, Sequence[Layout]], images: torch.Tensor
) -> dict[str, Layout | None]:
    """Return the first layout of each layer whose cells are places of the image.

    Args:
        network: In evaluation mode.
        possible: The layouts that each layer's output can have, the likeliest first.
        images: `[B,3,H,W]`; the first two are used.
    """
    measured = _measure(network, possible, images[:IMAGES])
    return {
        name: next((each for each, seen in zip(layouts, measured[name], strict=True) if seen.follow(each)), None)
        for name, layouts in possible.items()
    }


def measure(network: nn.Module, layer: str, layout: Layout, images: torch.Tensor) -> Places:
    """Measure one layer read in one layout; the arguments are those of `following`."""
    return _measure(network, {layer: [layout]}, images[:IMAGES])[layer][0]


def _measure(
    network: nn.Module, possible: Mapping[str, Sequence[Layout]], images: torch.Tensor
) -> dict[str, list[Places]]:
    """Measure every layer in every layout; layouts of the same coarse grid share the runs of the network."""
    sizes = {_coarse(layout) for layouts in possible.values() for layout in layouts}
    found: dict[tuple[str, int], Places] = {}
    for size in sorted(sizes):
        watched = {
            (name, index): layout
            for name, layouts in possible.items()
            for index, layout in enumerate(layouts)
            if _coarse(layout) == size
        }
        responses = [_respond(network, watched, image, size) for image in images]
        for key in watched:
            found[key] = compare(torch.stack([response[key] for response in responses]), _places(size))
    return {name: [found[name, index] for index in range(len(layouts))] for name, layouts in possible.items()}


def compare(responses: torch.Tensor, places: Sequence[tuple[int, int]]) -> Places:
    """Compare the response at each disturbed cell with those elsewhere.

    A cell that always changes much, and a disturbance that changes all cells, say nothing about places: both are taken
    out, as means of the logarithms.

    Args:
        responses: How much each cell changes, `[images,places,h,w]`.
        places: Row and column of the disturbed cells.
    """
    if len(places) < 2:
        return Places(1.0, 0.0)
    largest = responses.amax(dim=(2, 3), keepdim=True)
    logs = (responses + FLOOR * largest).clamp_min(torch.finfo(responses.dtype).tiny).log()
    logs = logs - logs.mean(dim=(2, 3), keepdim=True)
    centered = (logs - logs.mean(dim=1, keepdim=True)).mean(dim=0)
    own = torch.stack([centered[index, row, column] for index, (row, column) in enumerate(places)])
    rows = torch.stack([centered[index, row] for index, (row, _) in enumerate(places)])
    columns = torch.stack([centered[index, :, column] for index, (_, column) in enumerate(places)])
    strongest = centered.amax(dim=(1, 2))
    shares = [_share(own, strongest, torch.zeros(())), *(_share_within(own, line) for line in (rows, columns))]
    return Places(min(shares), float(strongest.mean()))


def _share_within(own: torch.Tensor, line: torch.Tensor) -> float:
    """Compare within the disturbed cell's own row or column `[places,cells]`, relative to its mean."""
    return 1.0 if line.shape[1] == 1 else _share(own, line.amax(dim=1), line.mean(dim=1))


def _share(own: torch.Tensor, strongest: torch.Tensor, mean: torch.Tensor) -> float:
    whole = float((strongest - mean).mean())
    return float((own - mean).mean()) / whole if whole > FLOOR else 0.0


def _respond(
    network: nn.Module, watched: Mapping[tuple[str, int], Layout], image: torch.Tensor, size: tuple[int, int]
) -> dict[tuple[str, int], torch.Tensor]:
    """Measure how much each cell changes for each disturbance of an image: `[places,h,w]` by layer and layout."""
    parts: dict[tuple[str, int], list[torch.Tensor]] = {key: [] for key in watched}

    def watch(key: tuple[str, int], layout: Layout) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, _input: object, output: torch.Tensor) -> None:
            cells = layout.grid(output)
            changes = (cells[1:] - cells[:1]).float().norm(dim=1)
            parts[key].append(functional.adaptive_avg_pool2d(changes, size))

        return network.get_submodule(key[0]).register_forward_hook(note)

    handles = [watch(key, layout) for key, layout in watched.items()]
    try:
        with torch.no_grad():
            for disturbed in _disturbed(image, size):
                network(disturbed)
    finally:
        for handle in handles:
            handle.remove()
    return {key: torch.cat(found) for key, found in parts.items()}


def _disturbed(image: torch.Tensor, size: tuple[int, int]) -> Iterator[torch.Tensor]:
    """Add noise under each of the places in turn: yield batches of the image, then some of its disturbances."""
    height, width = image.shape[1:]
    rng, left = torch.Generator().manual_seed(0), _places(size)
    at_once = max(2, limit_batch(AT_ONCE, height, width))
    while left:
        now, left = left[:at_once], left[at_once:]
        batch = image.repeat(1 + len(now), 1, 1, 1)
        for disturbed, (row, column) in zip(batch[1:], now, strict=True):
            part = disturbed[:, _span(row, size[0], height), _span(column, size[1], width)]
            part += NOISE * torch.randn(part.shape, generator=rng)
        yield batch


def _places(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Choose cells spread over the grid."""
    rows, columns = (
        [(2 * index + 1) * cells // (2 * min(cells, PLACES_PER_SIDE)) for index in range(min(cells, PLACES_PER_SIDE))]
        for cells in size
    )
    return [(row, column) for row in rows for column in columns]


def _coarse(layout: Layout) -> tuple[int, int]:
    return min(layout.height, FINEST), min(layout.width, FINEST)


def _span(cell: int, cells: int, pixels: int) -> slice:
    return slice(cell * pixels // cells, (cell + 1) * pixels // cells)

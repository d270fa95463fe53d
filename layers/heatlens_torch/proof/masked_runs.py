"""Explain images by Recipro-CAM in plain PyTorch, one run of the network per cell: the reference without gradients."""

import numpy as np
import torch
from torch import nn

from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.probe import target
from heatlens_torch.graph.selector import predicted_selector
from heatlens_torch.proof.parity import Explained

# What remains of a cell's neighborhood, by the distance in rows plus that in columns.
SHARES = {0: 1 / 4, 1: 1 / 8, 2: 1 / 16}


def explain(
    network: nn.Module, layer: str, images: Floats, layout: Layout, selectors: torch.Tensor | None = None
) -> Explained:
    """Explain each image `[N,3,H,W]` by itself, with `h*w + 2` runs of the original network.

    Args:
        network: In evaluation mode.
        layer: Module path of the target.
        images: Preprocessed.
        layout: Of the layer's output; tokens that are not cells are kept whole, as the class token of ViT-Recipro-CAM.
        selectors: `[N,K]`: what is explained; by default the predicted classes.
    """
    logits, maps = [], []
    for at, image in enumerate(torch.from_numpy(images)[:, None]):
        answer = run(network, layer, image, layout, None)
        selector = predicted_selector(answer)[0] if selectors is None else selectors[at]
        logits.append(answer[0].numpy())
        maps.append(_map(network, layer, image, layout, selector))
    return Explained(np.stack(logits), np.zeros((len(images), 0), np.float32), np.stack(maps))


def run(network: nn.Module, layer: str, image: torch.Tensor, layout: Layout, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the logits `[B,K]` of a network whose layer's cells are multiplied by a mask `[h,w]`."""
    if mask is None:
        with torch.no_grad():
            return network(image)  # type: ignore[no-any-return]
    hook = target(network, layer).register_forward_hook(lambda _module, _input, output: layout.masked(output, mask))
    try:
        with torch.no_grad():
            return network(image)  # type: ignore[no-any-return]
    finally:
        hook.remove()


def _map(network: nn.Module, layer: str, image: torch.Tensor, layout: Layout, selector: torch.Tensor) -> Floats:
    empty = torch.zeros(layout.height, layout.width)
    nothing = run(network, layer, image, layout, empty)[0] @ selector
    found = np.zeros((layout.height, layout.width), np.float32)
    for row in range(layout.height):
        for column in range(layout.width):
            mask = torch.zeros(layout.height, layout.width)
            for i in range(max(0, row - 1), min(layout.height, row + 2)):
                for j in range(max(0, column - 1), min(layout.width, column + 2)):
                    mask[i, j] = SHARES[abs(i - row) + abs(j - column)]
            found[row, column] = run(network, layer, image, layout, mask)[0] @ selector - nothing
    return found

"""Prove compiled graphs without gradients: compare logits and Recipro-CAM's maps with one masked run per cell."""

import numpy as np
import torch
from torch import nn

from heatlens.card import Parity
from heatlens.engines.base import Engine
from heatlens.errors import ParityError
from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.loading.spec import PROOF_INPUTS
from heatlens_torch.proof import masked_runs, rounding
from heatlens_torch.proof.parity import (
    NONEMPTY_SHARE,
    THRESHOLD,
    Explained,
    Proven,
    explain_compiled,
    join,
    ratio,
)
from heatlens_torch.proof.rounding import Doubles

RUNS = 1640  # of the reference, about: 32 inputs of a grid of 7x7, 8 of 14x14
LEAST_INPUTS = 4


def inputs_of(layout: Layout) -> int:
    """Return how many inputs are compared: fewer of finer grids, whose reference runs the network more often."""
    runs = layout.height * layout.width + 2
    return min(PROOF_INPUTS, max(LEAST_INPUTS, RUNS // runs))


def prove(engine: Engine, network: nn.Module, layer: str, images: Floats, layout: Layout) -> Proven:
    """Compare the compiled explanation of each image's predicted class with the reference's.

    Args:
        engine: Executes the compiled graphs.
        network: The original, in evaluation mode.
        layer: Module path of the target.
        images: `[N,3,H,W]`, preprocessed: the first are compared. What cannot be differentiated often jumps, as a
            rounding does: an image on which the reference itself moves by float32's rounding as far as ours differs is
            set aside, and the next one takes its place.
        layout: Of the layer's output.

    Raises:
        ParityError: A ratio is above the threshold, too few maps have positive evidence, or too few images are left to
            compare.
    """
    wanted, kept, aside = inputs_of(layout), dict[int, tuple[Explained, Explained]](), 0
    originals: list[Explained] = []
    for at in range(len(images)):
        if len(kept) == wanted:
            break
        image = images[at : at + 1]
        theirs = masked_runs.explain(network, layer, image, layout)
        originals.append(theirs)
        ours = explain_compiled(engine, image, np.zeros_like(theirs.logits))
        if _undecided(network, layer, layout, image, ours, theirs):
            aside += 1
        else:
            kept[at] = ours, theirs
    if len(kept) < wanted:
        raise ParityError(
            f"the maps of {layer!r} by one masked run per cell jump on {aside} of {len(images)} inputs when these move "
            "by float32's rounding, so there is nothing to equal: choose a later layer, or other images under `inputs`"
        )
    parity = _parity(list(kept.values()), aside)
    _demand(parity, layer)
    return Proven(parity, list(kept), join(originals))


def distances(ours: Explained, theirs: Explained) -> Doubles:
    """Compute the larger ratio of map and logits for each image."""
    pairs = [(ours.signed_map, theirs.signed_map), (ours.logits, theirs.logits)]
    return np.asarray(np.max([list(map(ratio, mine, other)) for mine, other in pairs], axis=0), np.float64)


def _undecided(
    network: nn.Module, layer: str, layout: Layout, image: Floats, ours: Explained, theirs: Explained
) -> bool:
    """Tell whether rounding moves the reference itself as far as ours differs from it."""
    [far] = distances(ours, theirs)
    if far <= THRESHOLD:
        return False
    [moves] = rounding.largest_moves(
        lambda nudged: distances(masked_runs.explain(network, layer, nudged, layout), theirs), image
    )
    return bool(moves > THRESHOLD and far <= rounding.SIDES * moves)


def _parity(kept: list[tuple[Explained, Explained]], aside: int) -> Parity:
    ours, theirs = zip(*kept, strict=True)
    return Parity(
        inputs=len(kept),
        nonempty=sum(bool(each.signed_map.max() > 0) for each in theirs),
        undecided=aside,
        signed_map=max(ratio(mine.signed_map, other.signed_map) for mine, other in kept),
        logits=ratio(np.concatenate([each.logits for each in ours]), np.concatenate([each.logits for each in theirs])),
        threshold=THRESHOLD,
        reference=f"Recipro-CAM by one masked run per cell in PyTorch {torch.__version__.partition('+')[0]}",
    )


def _demand(parity: Parity, layer: str) -> None:
    if not parity.largest <= parity.threshold:
        raise ParityError(
            f"the compiled explanation of {layer!r} differs from {parity.reference}: signed map "
            f"{parity.signed_map:.1e}, logits {parity.logits:.1e}, allowed {parity.threshold:.0e}; choose another layer"
        )
    if parity.nonempty < NONEMPTY_SHARE * parity.inputs:
        raise ParityError(
            f"only {parity.nonempty} of {parity.inputs} maps of {layer!r} have positive evidence, "
            "so comparing them proves nothing: use trained weights, or name images the network knows under `inputs`"
        )

"""Check whether maps depend on the learned weights: how similar they stay when weights are random."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from scipy import stats
from torch import nn

from heatlens.card import Randomised, Sanity
from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.selector import predicted_classes, predicted_selector
from heatlens_torch.loading.spec import PROOF_INPUTS
from heatlens_torch.proof import masked_runs, reference
from heatlens_torch.proof.randomize import randomized, weight_layers
from heatlens_torch.proof.recipro_parity import inputs_of

IMAGES = 8
SEED = 181003292  # the paper's number; small seeds are what networks are initialized with
THRESHOLD = 0.5  # chance stays below it on grids of 4x4 cells or more


def check(network: nn.Module, layer: str, images: Floats, layout: Layout, *, gradients: bool = True) -> Sanity | None:
    """Compare each image's map by the default method with that of the same network with random weights.

    The cascading model parameter randomization test (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018)
    in three stages: the uppermost layer with weights, the upper half of them, all. The class that the original predicts
    is explained. A map of the random network that is flat or not finite counts as 0.

    Args:
        network: In evaluation mode; its weights are restored afterwards.
        layer: Module path of the target.
        images: `[N,3,H,W]`, preprocessed; the first eight are used, without gradients those that the proof's runs
            allow.
        layout: Of the layer's output.
        gradients: Whether the default method is Grad-CAM, otherwise Recipro-CAM.

    Returns:
        `None` if the network has no weights, or all maps are flat.
    """
    count = IMAGES if gradients else max(1, inputs_of(layout) * IMAGES // PROOF_INPUTS)
    batch = torch.from_numpy(images[:count])
    layers = weight_layers(network, batch[:2])
    if not layers:
        return None
    with torch.no_grad():
        logits = network(batch)

    def maps(weights: AbstractContextManager[None]) -> Floats:
        with weights:
            if not gradients:
                return masked_runs.explain(
                    network, layer, images[:count], layout, predicted_selector(logits)
                ).signed_map
            return reference.explain(network, layer, batch, predicted_classes(logits), layout=layout).signed_map

    original = maps(nullcontext())
    varied = np.ptp(original, axis=(1, 2)) > 0
    if not varied.any():
        return None
    stages = [
        _compared(count, original[varied], maps(randomized(network, layers[-count:], batch, seed=SEED))[varied])
        for count in sorted({1, -(-len(layers) // 2), len(layers)})
    ]
    return Sanity(
        images=int(varied.sum()),
        seed=SEED,
        layers=len(layers),
        stages=tuple(stages),
        threshold=THRESHOLD,
        sensitive=max(abs(stages[-1].signed), abs(stages[-1].absolute)) < THRESHOLD,
    )


def spearman(one: Floats, other: Floats) -> float:
    """Compute Spearman's rank correlation of all cells; 0 where one of the maps is flat or not finite."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()) or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(stats.spearmanr(one, other, axis=None).statistic)


def _compared(layers: int, original: Floats, random: Floats) -> Randomised:
    pairs = list(zip(original, random, strict=True))
    return Randomised(
        layers=layers,
        signed=float(np.mean([spearman(one, other) for one, other in pairs])),
        absolute=float(np.mean([spearman(np.abs(one), np.abs(other)) for one, other in pairs])),
    )

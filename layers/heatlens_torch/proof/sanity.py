"""Check whether maps depend on the learned weights: how similar they stay when weights are random."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import nn

from heatlens.card import Randomised, Sanity
from heatlens.types import Floats
from heatlens_torch.batch_size import divide
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.selector import predicted_classes, predicted_selector
from heatlens_torch.loading.spec import PROOF_INPUTS
from heatlens_torch.proof import masked_runs, reference
from heatlens_torch.proof.parity import Explained, join
from heatlens_torch.proof.randomize import randomized, weight_layers
from heatlens_torch.proof.recipro_parity import inputs_of

IMAGES = 8
SEED = 181003292  # the paper's number; small seeds are what networks are initialized with
THRESHOLD = 0.5  # chance stays below it on grids of 4x4 cells or more


def check(
    network: nn.Module,
    layer: str,
    images: Floats,
    layout: Layout,
    *,
    gradients: bool = True,
    originals: Explained | None = None,
) -> Sanity | None:
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
        originals: The reference's explanations of the same images by the original network, from the proof; by default
            they are made here.

    Returns:
        `None` if the network has no weights, or all maps are flat.
    """
    count = IMAGES if gradients else max(1, inputs_of(layout) * IMAGES // PROOF_INPUTS)
    images = images[:count]
    layers = weight_layers(network, torch.from_numpy(images[:2]))
    if not layers:
        return None
    known = originals or _explain(network, layer, images, layout, None, gradients=gradients)
    known = known.of(list(range(count)))
    varied = np.ptp(known.signed_map, axis=(1, 2)) > 0
    if not varied.any():
        return None
    stages = []
    for random in sorted({1, -(-len(layers) // 2), len(layers)}):
        with randomized(network, layers[-random:], _batches(images), seed=SEED):
            found = _explain(network, layer, images, layout, known.logits, gradients=gradients)
        stages.append(_compared(random, known.signed_map[varied], found.signed_map[varied]))
    return Sanity(
        images=int(varied.sum()),
        seed=SEED,
        layers=len(layers),
        stages=tuple(stages),
        threshold=THRESHOLD,
        sensitive=max(abs(stages[-1].signed), abs(stages[-1].absolute)) < THRESHOLD,
    )


def _explain(
    network: nn.Module, layer: str, images: Floats, layout: Layout, logits: Floats | None, *, gradients: bool
) -> Explained:
    """Explain the class that `logits` `[N,K]` predict, by default the network's own, by the default method."""
    answered = None if logits is None else torch.from_numpy(logits)
    if not gradients:
        selectors = None if answered is None else predicted_selector(answered)
        return masked_runs.explain(network, layer, images, layout, selectors)
    classes = None if answered is None else predicted_classes(answered)
    parts = []
    for batch in _batches(images):
        own = None if classes is None else [classes.pop(0) for _ in batch]
        found = reference.explain(network, layer, batch, own, layout=layout)
        parts.append(Explained(found.logits, found.gradient, found.signed_map))
    return join(parts)


def _batches(images: Floats) -> Sequence[torch.Tensor]:
    return [torch.from_numpy(batch) for batch in divide(images, IMAGES)]


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

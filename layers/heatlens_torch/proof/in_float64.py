"""Compute an explanation in float64, to say whether rounding or an engine makes two in float32 differ."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.loading.batchnorm import BatchNorm
from heatlens_torch.proof import reference

SAME_ORDER = 0.25  # rounding that moves the original by this part of the difference is its cause
LARGE_GAIN = 30.0  # a trained BatchNorm seldom multiplies by more


def cause(
    network: nn.Module, layer: str, layout: Layout, image: Floats, ours: Sequence[Floats], theirs: Sequence[Floats]
) -> str:
    """Say what makes two explanations differ, for a refusal; nothing if the network has no float64.

    Args:
        network: The original, in evaluation mode.
        layer: Module path of the target.
        layout: Of the layer's output.
        image: `[1,3,H,W]`, preprocessed.
        ours: Signed map, gradient and logits of the image by the compiled graphs.
        theirs: The same by pytorch-grad-cam, both in float32.
    """
    try:
        double = deepcopy(network).double()
        exact = reference.explain(double, layer, torch.from_numpy(image.astype(np.float64)), layout=layout)
    except Exception:  # code of users that works in float32 alone raises unrelated types
        return ""
    values = (exact.signed_map, exact.gradient, exact.logits)
    compiled, original = (max(map(_apart, found, values)) for found in (ours, theirs))
    measured = f"from float64 {reference.name()}'s own differs by {original:.1e}, the compiled one by {compiled:.1e}"
    if original < SAME_ORDER * compiled:
        return f"; {measured}, so the compiled graphs compute it wrongly"
    gains = "".join(f", and {name!r} multiplies by up to {gain:.0f}" for name, gain in _largest_gain(network))
    return (
        f"; {measured}, so the network magnifies float32's rounding{gains}: untrained weights do, trained ones seldom"
    )


def _apart(found: Floats, exact: Floats) -> float:
    scale = np.abs(exact).max()
    return float(np.abs(found - exact).max() / scale) if scale > 0 else 0.0


def _largest_gain(network: nn.Module) -> Iterator[tuple[str, float]]:
    """Yield the BatchNorm with the largest factor, if that is large."""
    norms = {name: each for name, each in network.named_modules() if isinstance(each, BatchNorm)}
    gains = {name: gain for name, norm in norms.items() if (gain := _gain(norm)) > LARGE_GAIN}
    if gains:
        worst = max(gains, key=lambda name: gains[name])
        yield worst, gains[worst]


def _gain(norm: BatchNorm) -> float:
    if norm.running_var is None:
        return 0.0
    factors = (norm.running_var + norm.eps) ** -0.5
    return float((factors if norm.weight is None else factors * norm.weight.detach().abs()).max())

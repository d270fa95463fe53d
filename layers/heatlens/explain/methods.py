"""Compute the weights of CAM methods, of channels [B,C] or cells [B,C,h,w], from activation and gradient [B,C,h,w].

A is the activation, G the gradient of the explained logit with respect to it. The map before its ReLU is the sum over
channels `s = sum_k w_k A_k`, or its projection for the methods in `PROJECTED`. Constants added to divisors are
pytorch-grad-cam's, so that the maps are too. They do not keep a divisor from 0 where A has negative values, as behind a
LayerNorm: `away_from_zero` does.
"""

from collections.abc import Callable

import numpy as np

from heatlens.types import Floats

LEAST_DIVISOR = 1e-12  # far under the constants that are added

Weigh = Callable[[Floats, Floats], Floats]


def away_from_zero(divisor: Floats, least: float) -> Floats:
    """Move divisors nearer to 0 than `least` to it, with their sign; 0 itself becomes positive."""
    return np.where(np.abs(divisor) < least, np.where(divisor < 0, -least, least), divisor).astype(np.float32)


def gradcam(activation: Floats, gradient: Floats) -> Floats:
    """`w_k = mean_ij G_kij` (Selvaraju et al., "Grad-CAM", ICCV 2017, equation 1)."""
    weights: Floats = gradient.mean(axis=(2, 3))
    return weights


def gradcam_plus_plus(activation: Floats, gradient: Floats) -> Floats:
    """`w_k = sum_ij a_kij relu(G_kij)` with `a = G^2 / (2 G^2 + G^3 sum_ij A_k)`, 0 where G is 0.

    Chattopadhay et al., "Grad-CAM++", WACV 2018, equations 7 and 19.
    """
    square = gradient**2
    total = activation.sum(axis=(2, 3), keepdims=True)
    below = 2 * square + total * square * gradient + np.float32(1e-6)
    share = square / away_from_zero(below, LEAST_DIVISOR)
    weights: Floats = (np.maximum(gradient, 0) * np.where(gradient != 0, share, 0)).sum(axis=(2, 3))
    return weights


def xgradcam(activation: Floats, gradient: Floats) -> Floats:
    """`w_k = sum_ij G_kij A_kij / sum_ij A_kij` (Fu et al., "Axiom-based Grad-CAM", BMVC 2020, equation 8)."""
    total = activation.sum(axis=(2, 3), keepdims=True) + np.float32(1e-7)
    weights: Floats = (gradient * activation / away_from_zero(total, LEAST_DIVISOR)).sum(axis=(2, 3))
    return weights


def layercam(activation: Floats, gradient: Floats) -> Floats:
    """`w_kij = relu(G_kij)` (Jiang et al., "LayerCAM", IEEE TIP 2021, equations 5 and 6)."""
    return np.maximum(gradient, 0)


def hirescam(activation: Floats, gradient: Floats) -> Floats:
    """`w_kij = G_kij` (Draelos and Carin, "Use HiResCAM instead of Grad-CAM", 2020, arXiv:2011.08891)."""
    return gradient


def gradcam_elementwise(activation: Floats, gradient: Floats) -> Floats:
    """`s = sum_k relu(G_k A_k)`, that is `w_kij = G_kij` where `G_kij A_kij > 0`, else 0.

    Pillai and Pirsiavash, "Explainable Models with Consistent Interpretations", AAAI 2021.
    """
    return np.where(gradient * activation > 0, gradient, np.float32(0))


def eigencam(activation: Floats, gradient: Floats) -> Floats:
    """`w = 1`; the activation itself is projected (Muhammad and Yeasin, "Eigen-CAM", IJCNN 2020). It has no target."""
    return np.ones(activation.shape[:2], np.float32)


METHODS: dict[str, Weigh] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "layercam": layercam,
    "hirescam": hirescam,
    "gradcam-elementwise": gradcam_elementwise,
    "eigencam": eigencam,
    "eigengradcam": hirescam,  # what hirescam sums, projected
}
PROJECTED = frozenset({"eigencam", "eigengradcam"})

"""Compute Grad-CAM before its ReLU, differentiable: logits `[B]` and signed maps `[B, h, w]`."""

from __future__ import annotations

import torch
from torch import Tensor

from heatlens_torch.demo.network import DemoNet


def signed_map(network: DemoNet, images: Tensor, *, differentiable: bool) -> tuple[Tensor, Tensor]:
    """Compute sum_k w_k A_k with w_k the mean of d logit / d A_k over the grid, for the class OPACITY.

    The head pools first, so d logit / d A_k is the same in every cell and w_k = (d logit / d mean A_k) / (h w):
    one pass through the small head gives it exactly.

    Args:
        network: the network.
        images: normalized images, [B, 3, S, S].
        differentiable: keep the graph of the gradient, so that a loss on the map trains the network.

    Returns:
        Logits [B] and signed maps [B, h, w].
    """
    activations = network.features(images)
    pooled = activations.mean((2, 3), keepdim=True)
    if not differentiable:
        pooled = pooled.detach().requires_grad_()
    logits = network.classifier(pooled)[:, 0]
    (gradient,) = torch.autograd.grad(logits.sum(), pooled, create_graph=differentiable)
    cells = activations.shape[2] * activations.shape[3]
    return logits, (gradient / cells * activations).sum(1)

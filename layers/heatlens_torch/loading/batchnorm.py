"""Give BatchNorms the statistics of images."""

from collections.abc import Sequence

import torch
from torch import nn

BatchNorm = nn.modules.batchnorm._BatchNorm


def batchnorms(network: nn.Module) -> list[BatchNorm]:
    """List the BatchNorms of a network."""
    return [module for module in network.modules() if isinstance(module, BatchNorm)]


def settle_batchnorm(network: nn.Module, norms: Sequence[BatchNorm], batches: Sequence[torch.Tensor]) -> None:
    """Replace the running statistics of some BatchNorms by those of images.

    The norms see every batch in training mode, with a plain average in place of momentum; all else stays in evaluation
    mode.

    Args:
        network: In evaluation mode; so are the norms afterwards, also where the network raises.
        norms: Those of its BatchNorms that are settled.
        batches: Each `[B,3,H,W]`, of two images or more.
    """
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                network(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()

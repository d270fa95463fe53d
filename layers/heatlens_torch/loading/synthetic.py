"""Make images from a seed, and give an untrained network activations worth comparing."""

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.convnext import CNBlock
from torchvision.models.resnet import BasicBlock, Bottleneck

from heatlens_torch.loading.batchnorm import batchnorms, settle_batchnorm

BLOBS = 6
NOISE = 24.0  # standard deviation in gray levels
BRANCH_GAIN = 0.2


def images(count: int, *, size: tuple[int, int], seed: int = 0, start: int = 0) -> list[Image.Image]:
    """Draw smooth colored blobs under noise: unlike white noise, they differ from each other after any pooling.

    Args:
        count: How many.
        size: Width and height in pixels.
        seed: The same seed gives the same images.
        start: How many of these are left out.
    """
    return [_image(np.random.default_rng((seed, index)), size) for index in range(start, start + count)]


def _image(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    pixels = np.full((height, width, 3), rng.uniform(40, 215, size=3))
    for _ in range(BLOBS):
        center_x, center_y = rng.uniform(0, 1, size=2)
        radius = rng.uniform(0.05, 0.3)
        blob = np.exp(-((x - center_x) ** 2 + (y - center_y) ** 2) / (2 * radius**2))
        pixels += blob[..., None] * rng.uniform(-200, 200, size=3)
    pixels += rng.normal(0, NOISE, size=pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def settle(network: nn.Module, batches: list[torch.Tensor]) -> None:
    """Give a freshly seeded network activations that vary, and rounding errors that stay small.

    Every BatchNorm is settled on `batches`, each `[B,3,H,W]`: without it a deep seeded network answers every image
    alike or with nothing, and comparing such maps proves nothing. The residual branches of ResNets and of inverted
    residuals (MobileNet, EfficientNet) are damped, as training leaves them: at equal weight with their shortcut, fifty
    random layers magnify float32 rounding to 1e-4 of the map in any engine. Parameters that start at or near zero get
    a size: a head of zeros (ViT), residual branches scaled by 1e-6 (ConvNeXt).
    """
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in network.modules():
            if isinstance(block, BasicBlock | Bottleneck):
                (block.bn3 if isinstance(block, Bottleneck) else block.bn2).weight.fill_(BRANCH_GAIN)
            if getattr(block, "use_res_connect", False):
                [*_, last] = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
                last.weight.fill_(BRANCH_GAIN)
            if isinstance(block, CNBlock):
                block.layer_scale.fill_(BRANCH_GAIN)
            if isinstance(block, nn.Linear) and not block.weight.any():
                block.weight.normal_(std=block.in_features**-0.5, generator=rng)
    settle_batchnorm(network, batchnorms(network), batches)

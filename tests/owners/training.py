"""Train a small network on the crops in seconds, so that its maps mean something."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn

from heatlens.card import Preprocess
from tests.owners.photos import crops

STEPS, BATCH, RATE = 30, 16, 2e-3


class Small(nn.Module):
    """The network of owners who wrote their own."""

    def __init__(self, classes: int = 2, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(_block(3, width), _block(width, 2 * width), _block(2 * width, 4 * width))
        self.head = nn.Linear(4 * width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(image).mean(dim=(2, 3)))
        return logits


def train(network: nn.Module, recipe: Preprocess, *, steps: int = STEPS, entry: str | None = None) -> nn.Module:
    """Train the network to tell the photos apart, in place, and return it in evaluation mode."""
    images, labels = crops(16 * BATCH, recipe)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    rng = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(steps):
        picked = torch.randint(len(labels), (BATCH,), generator=rng)
        answer = network(images[picked])
        loss = cross_entropy(answer if entry is None else answer[entry], labels[picked])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    settle(network, images)
    return network.eval()


def settle(network: nn.Module, images: torch.Tensor) -> None:
    """Average BatchNorm's statistics over the crops: its own running ones need far more steps than these."""
    update_bn(list(torch.split(images, BATCH)), network)


def _block(channels: int, widened: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, widened, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(widened), nn.ReLU())

"""Define the demonstration network: images `[B, 3, 160, 160]` to one opacity logit `[B, 1]`."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, without the last activation: [B, C, H, W] to [B, D, H/s, W/s]."""

    def __init__(self, channels: int, widened: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, widened, 3, stride=stride, dilation=dilation),
            nn.BatchNorm2d(widened),
            nn.ReLU(),
            _convolution(widened, widened, 3, dilation=dilation),
            nn.BatchNorm2d(widened),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != widened:
            self.shortcut.extend((_convolution(channels, widened, 1, stride=stride), nn.BatchNorm2d(widened)))

    def forward(self, activations: Tensor) -> Tensor:
        """Add the body's output to the shortcut's."""
        body: Tensor = self.body(activations)
        shortcut: Tensor = self.shortcut(activations)
        return body + shortcut


class DemoNet(nn.Module):
    """A small ResNet with a stride-8 grid and a head of three linear layers, 0.43 M parameters.

    `features` ends with its activation, so that it is the target layer: [B, 3, S, S] to [B, 96, S/8, S/8].
    The last block is dilated: it sees as far as one more halving would, and the grid stays fine enough to point with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(3, 24, 3, stride=2),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            Residual(24, 32, stride=2),
            nn.ReLU(),
            Residual(32, 64, stride=2),
            nn.ReLU(),
            Residual(64, 96),
            nn.ReLU(),
            Residual(96, 96, dilation=2),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(96, 256),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(256, 64),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(64, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Score normalized images [B, 3, S, S]; above 0 is an opacity. Returns logits [B, 1]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def build() -> nn.Module:
    """Build the network with fresh weights."""
    return DemoNet()


def _convolution(channels: int, widened: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, widened, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)

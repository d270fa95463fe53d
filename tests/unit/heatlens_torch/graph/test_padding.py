"""Padding other than by zeros is rewritten so that it computes the same for any batch."""

from typing import Any

import pytest
import torch
from torch import nn

from heatlens_torch.graph import cut
from heatlens_torch.graph.differentiate import differentiate
from heatlens_torch.graph.simplify import simplify

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own
BATCH = 11  # a size that no other dimension has
SIZE = (8, 7)
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "reflected": {"kernel_size": 3, "padding": (1, 0), "padding_mode": "reflect"},
    "repeated": {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
    "circular": {"kernel_size": 5, "padding": 2, "padding_mode": "circular"},
    "same with an even kernel": {"kernel_size": (4, 3), "padding": "same"},
    "same and dilated": {"kernel_size": (2, 3), "padding": "same", "dilation": (3, 2)},
    "valid": {"kernel_size": 3, "padding": "valid", "stride": 2},
}


class Padded(nn.Module):
    """Answers the mean of the squares of each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(2, 3, **given) for given in CONVOLUTIONS.values())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.stack([each(image).square().mean(dim=(1, 2, 3)) for each in self.convolutions], dim=1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Padded().eval()


@pytest.fixture(scope="module")
def differentiated(network: nn.Module) -> torch.fx.GraphModule:
    image = torch.zeros(BATCH, 2, *SIZE)
    captured = cut.capture(network, image)
    simplify(captured)
    return differentiate(captured, (image,), len(CONVOLUTIONS), layer="image")


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_value_and_gradient_equal_torchs(name: str, network: nn.Module, differentiated: torch.fx.GraphModule) -> None:
    which = list(CONVOLUTIONS).index(name)
    image = torch.randn(2, 2, *SIZE, generator=torch.Generator().manual_seed(1), requires_grad=True)

    logits, gradient = differentiated(image.detach(), torch.eye(len(CONVOLUTIONS))[[which] * 2], torch.arange(2))

    expected = network(image)
    [wanted] = torch.autograd.grad(expected[:, which].sum(), image)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(gradient, wanted, atol=1e-5)

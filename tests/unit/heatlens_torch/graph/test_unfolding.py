"""Unfold and fold become convolutions that compute the same, for any batch."""

import pytest
import torch
from torch import nn

from heatlens_torch.graph import cut
from heatlens_torch.graph.differentiate import differentiate
from heatlens_torch.graph.simplify import simplify

BATCH = 11  # a size that no other dimension has


class Folded(nn.Module):
    """Sums squares of cells where windows overlap, weighted."""

    def __init__(self, **windows: int) -> None:
        super().__init__()
        self.unfold = nn.Unfold(**windows)
        self.fold = nn.Fold((8, 7), **windows)
        self.head = nn.LazyLinear(3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        windows = self.unfold(image)
        logits: torch.Tensor = self.head(self.fold(windows * windows).flatten(1))
        return logits


@pytest.mark.parametrize(
    "windows",
    [{"kernel_size": 3, "padding": 1}, {"kernel_size": 2, "stride": 2}, {"kernel_size": 2, "dilation": 2, "stride": 3}],
    ids=str,
)
def test_values_and_gradients_equal_torchs_for_any_batch(windows: dict[str, int]) -> None:
    torch.manual_seed(0)
    network = Folded(**windows).eval()
    network(torch.zeros(1, 2, 8, 7))
    captured = cut.capture(network, torch.zeros(BATCH, 2, 8, 7))
    simplify(captured)

    graph = differentiate(captured, (torch.zeros(BATCH, 2, 8, 7),), 3, layer="image")

    image = torch.randn(2, 2, 8, 7, requires_grad=True)
    logits, gradient = graph(image.detach(), torch.eye(3)[[1, 1]], torch.arange(2))
    expected = network(image)
    [wanted] = torch.autograd.grad(expected[:, 1].sum(), image)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(gradient, wanted, atol=1e-5)

"""Pooling is rewritten so that it computes the same, ties and their gradients included."""

import pytest
import torch
from torch import nn

from heatlens_torch.graph import cut
from heatlens_torch.graph.differentiate import differentiate
from heatlens_torch.graph.pooling import averages
from heatlens_torch.graph.simplify import simplify

SIZE = (7, 6)
CHANNELS = 2
POOLINGS: dict[str, nn.Module] = {
    "the largest of all": nn.AdaptiveMaxPool2d(1),
    "the largest of equal parts": nn.AdaptiveMaxPool2d((7, 3)),
    "the largest of overlapping parts": nn.AdaptiveMaxPool2d((3, 4)),
    "the mean of all": nn.AdaptiveAvgPool2d(1),
    "the mean of overlapping parts": nn.AdaptiveAvgPool2d((2, 4)),
    "a window larger than the map": nn.AvgPool2d(40, ceil_mode=True),
    "a window as large as one side": nn.AvgPool2d((9, 2), ceil_mode=True),
    "a window with its own divisor": nn.AvgPool2d(3, padding=1, divisor_override=2),
    "the largest of windows that reach beyond": nn.MaxPool2d(3, stride=2, ceil_mode=True),
    "the largest of padded windows": nn.MaxPool2d(3, stride=2, padding=1),
    "means of windows that leave cells over": nn.AvgPool2d(3, stride=2),
}
BATCH = 11  # a size that no other dimension has
UNCONVERTED = {"adaptive_max_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d_backward"}


class Poolings(nn.Module):
    """Answers the weighted sum of each pooling of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.poolings = nn.ModuleList(POOLINGS.values())
        self.heads = nn.ModuleList(nn.LazyLinear(1) for _ in POOLINGS)
        self(torch.zeros(1, CHANNELS, *SIZE))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.poolings, self.heads, strict=True)
        return torch.cat([head(pooling(image).flatten(1)) for pooling, head in pairs], dim=1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Poolings().eval()


@pytest.fixture(scope="module")
def differentiated(network: nn.Module) -> torch.fx.GraphModule:
    image = torch.zeros(BATCH, CHANNELS, *SIZE)
    captured = cut.capture(network, image)
    simplify(captured)
    return differentiate(captured, (image,), len(POOLINGS), layer="image")


def test_no_pooling_without_a_conversion_is_left(differentiated: torch.fx.GraphModule) -> None:
    targets = {str(node.target).split(".")[1] for node in differentiated.graph.nodes if "." in str(node.target)}

    assert not targets & UNCONVERTED
    assert "mean" in targets


@pytest.mark.parametrize("name", POOLINGS)
def test_value_and_gradient_equal_torchs(name: str, network: nn.Module, differentiated: torch.fx.GraphModule) -> None:
    which = list(POOLINGS).index(name)
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(-2, 3, (4, CHANNELS, *SIZE), generator=rng).float().relu()  # half of it zero: ties
    selector = torch.eye(len(POOLINGS))[[which] * 4]

    logits, gradient = differentiated(image, selector, torch.arange(len(image)))

    expected = network(image.requires_grad_())
    [wanted] = torch.autograd.grad(expected[:, which].sum(), image)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(gradient, wanted, atol=1e-6)


def test_indices_of_the_largest_are_left_to_torch() -> None:
    """Only the values are rewritten: a network that uses the places keeps torch's operator."""

    class Places(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            values, places = nn.functional.adaptive_max_pool2d(image, 1, return_indices=True)
            return (values + places).flatten(1)

    captured = cut.capture(Places().eval(), torch.zeros(BATCH, CHANNELS, *SIZE))
    simplify(captured)

    assert "adaptive_max_pool2d" in captured.code


@pytest.mark.parametrize(("size", "wanted"), [(7, 7), (6, 3), (7, 3), (2, 7), (5, 1)])
def test_adaptive_averages_equal_torchs(size: int, wanted: int) -> None:
    row = torch.randn(1, 1, size, generator=torch.Generator().manual_seed(0))

    expected = nn.AdaptiveAvgPool1d(wanted)(row)[0, 0]

    assert torch.allclose(averages(size, wanted) @ row[0, 0], expected, atol=1e-6)

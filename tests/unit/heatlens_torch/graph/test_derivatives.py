"""Backward operators written in forward operators equal autograd's."""

import re

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from heatlens_torch.graph import derivatives

OPERATIONS: dict[str, nn.Module] = {
    "convolution": nn.Conv2d(4, 6, 3, padding=1),
    "strided convolution that leaves a row over": nn.Conv2d(4, 6, 3, stride=2),
    "dilated convolution in groups": nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
    "depthwise convolution": nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4),
    "pointwise strided convolution": nn.Conv2d(4, 6, 1, stride=3),
    "transposed convolution": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1),
    "max pooling": nn.MaxPool2d(2),
    "overlapping max pooling": nn.MaxPool2d(3, stride=2, padding=1),
    "max pooling that reaches beyond": nn.MaxPool2d(3, stride=2, ceil_mode=True),
    "dilated max pooling": nn.MaxPool2d(2, stride=1, dilation=2),
    "max pooling over an oblong": nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0)),
    "average pooling": nn.AvgPool2d(2),
    "padded average pooling": nn.AvgPool2d(3, stride=1, padding=1),
    "average pooling that counts no padding": nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "average pooling that reaches beyond": nn.AvgPool2d(3, stride=2, ceil_mode=True),
    "average pooling with a divisor": nn.AvgPool2d((2, 3), divisor_override=5),
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [(11, 11), (12, 9)])
def test_the_gradient_equals_autograds(name: str, size: tuple[int, int]) -> None:
    operation = OPERATIONS[name].requires_grad_(requires_grad=False)
    rng = torch.Generator().manual_seed(0)
    # Whole numbers, and half of them zero: ties, as behind a ReLU.
    value = torch.randint(-2, 3, (2, 4, *size), generator=rng).float().relu()
    weight = torch.randn(operation(value).shape, generator=rng)

    def gradient(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        _, pull = torch.func.vjp(operation, value)  # type: ignore[misc]  # three with has_aux
        found: torch.Tensor = pull(weight)[0]
        return found

    graph = make_fx(gradient, derivatives.TABLE)(value, weight)

    assert not [node for node in graph.graph.nodes if re.search("backward|empty", str(node.target))]
    assert torch.allclose(graph(value, weight), gradient(value, weight), atol=1e-5)

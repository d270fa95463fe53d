"""Parts of a graph in float64 are computed in float32, parts in half precision are refused."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from heatlens.errors import CompileError
from heatlens_torch.graph.cut import capture

IMAGE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Double(nn.Module):
    """Has a weight, a buffer, a constant and operations in float64."""

    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2).double()
        self.register_buffer("scale", torch.full((3,), 0.5, dtype=torch.float64))
        self.constant = torch.ones(3, dtype=torch.float64)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        means = image.to(torch.float64).mean((2, 3)) * self.scale + self.constant
        answer: torch.Tensor = self.linear(means + torch.zeros(3, dtype=torch.float64)).double()
        return answer


def test_double_precision_becomes_single() -> None:
    network = Double()

    captured = capture(network, IMAGE)

    answer = captured(IMAGE)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, network(IMAGE).float())
    assert network.linear.weight.dtype == torch.float64


class Half(nn.Module):
    """Rounds to half precision on its way."""

    def __init__(self, convert: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.convert = convert

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convert(image.mean((2, 3))).float()


@pytest.mark.parametrize(("name", "convert"), [("float16", lambda x: x.half()), ("bfloat16", lambda x: x.bfloat16())])
def test_half_precision_is_refused_with_its_line(name: str, convert: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises(CompileError, match=rf"computes in {name} inside \(test_single_precision\.py:\d+\): leave out"):
        capture(Half(convert), IMAGE)

"""A simplified graph computes the same with operators whose derivatives have a conversion."""

import pytest
import torch
from torch import nn

from heatlens_torch.graph.export import export
from heatlens_torch.graph.probe import probe


class Tokens(nn.Module):
    """A linear layer over tokens, in the order in which attention has them: `[N,B,C]`."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.linear = nn.Linear(8, 5, bias=bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        rows = self.patches(image).flatten(2).permute(2, 0, 1)
        answer: torch.Tensor = torch.tanh(self.linear(rows)).mean(dim=0)
        return answer


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_over_tokens_multiplies_by_one_matrix(*, bias: bool) -> None:
    """Kept apart, the tokens each get a copy of the weight: gigabytes in a large transformer."""
    torch.manual_seed(0)
    network = Tokens(bias=bias).eval()

    [graphs] = export(network, {"patches": probe(network, "patches", torch.randn(2, 3, 32, 32))}, (32, 32))

    ranks = {weight.name: len(weight.dims) for weight in graphs.tail.graph.initializer}
    factors = [ranks.get(node.input[1]) for node in graphs.tail.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert factors == [2, 2]

"""Modules inside one that computes attention are recognized, however it is written."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from heatlens_torch.graph.attention import Attentions


class Mixing(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.linear, self.soft = kind, nn.Linear(4, 4), nn.Softmax(dim=-1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query: torch.Tensor = self.linear(tokens)
        scores = query @ query.transpose(1, 2)
        match self.kind:
            case "fused":
                return functional.scaled_dot_product_attention(query, query, query)
            case "function":
                return scores.softmax(dim=-1) @ query
            case "module":
                soft: torch.Tensor = self.soft(scores)
                return soft @ query
            case "factorized":  # CoaT: keys become weights of places, and the values are summed before the queries
                heads = query[:, None]
                return (heads @ (heads.softmax(dim=2).transpose(2, 3) @ heads)).flatten(1, 2)
            case "of one token":  # CrossViT: the class token alone asks
                heads = query[:, None]
                return ((heads[:, :, :1] @ heads.transpose(2, 3)).softmax(dim=-1) @ heads).flatten(1, 2)
            case "over channels":
                return query * query.mean(dim=1).softmax(dim=1)[:, None]
        return query


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("fused", True),
        ("function", True),
        ("module", True),
        ("factorized", True),
        ("of one token", True),
        ("over channels", False),
        ("none", False),
    ],
)
def test_modules_inside_an_attention(kind: str, *, inside: bool) -> None:
    network = nn.Sequential(nn.Linear(4, 4), Mixing(kind))
    with Attentions.of(network) as found:
        network(torch.randn(2, 5, 4))

    assert found.around("1.linear") is inside
    assert not found.around("1")
    assert not found.around("0")

"""After the target layer only the class token is computed, and logits and gradients stay what they are."""

import pytest
import torch
from torch import fx, nn

from heatlens_torch.graph import cut as cutting
from heatlens_torch.graph.narrow import narrow
from tests.support.class_tokens import (
    BATCH,
    CLASSES,
    HIDDEN,
    NETWORKS,
    SIDE,
    TOKENS,
    WIDTH,
    Separate,
    count_products,
    cut_at,
    make_network,
)

IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def run(cut: cutting.Cut) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
    """Return what crosses the cut, the logits, and the gradient of a weighted sum of them."""
    with torch.no_grad():
        values = cut.trunk(IMAGES)
    crossing = values if isinstance(values, tuple) else (values,)
    activation = crossing[0].clone().requires_grad_()
    logits = cut.tail(activation, *crossing[1:])
    (logits * torch.arange(1.0, CLASSES + 1)).sum().backward()
    assert activation.grad is not None
    return crossing, logits.detach(), activation.grad


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_gradient_stay(name: str) -> None:
    network, layer = make_network(name)

    _, expected, gradient = run(cut_at(network, layer, narrowed=False))
    _, logits, found = run(cut_at(network, layer))

    with torch.no_grad():
        torch.testing.assert_close(expected, network(IMAGES))
    assert gradient.abs().amax(dim=(0, 2)).min() > 0, "every token matters"
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - gradient).abs().max() <= 1e-5 * gradient.abs().max()


@pytest.mark.parametrize(("name", "tokens"), [(name, 2 if name == "two tokens" else 1) for name in NETWORKS])
def test_only_keys_and_values_are_computed_of_all_tokens(name: str, tokens: int) -> None:
    network, layer = make_network(name)
    cut = cut_at(network, layer)
    crossing, *_ = run(cut)

    every = TOKENS + tokens - 1
    keys_and_values = 2 * every * WIDTH**2
    attention = 2 * every * WIDTH
    own = 2 * WIDTH**2 + (0 if isinstance(network, Separate) else 2 * WIDTH * HIDDEN) + WIDTH * CLASSES
    assert count_products(cut.tail, *crossing) == len(IMAGES) * (keys_and_values + tokens * (attention + own))


def test_what_bypasses_the_layer_crosses_the_cut_for_the_token_alone() -> None:
    crossing, *_ = run(cut_at(*make_network("separate layers")))

    assert [tuple(value.shape) for value in crossing] == [(2, TOKENS, WIDTH), (2, 1, WIDTH)]


class Pooled(nn.Module):
    """Averages its tokens, or reads half of them: all are needed."""

    def __init__(self, read: int) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, WIDTH, 16, 16), nn.LayerNorm(WIDTH)
        self.qkv, self.head = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, CLASSES)
        self.read = read

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(self.patches(image).flatten(2).transpose(1, 2))
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        logits: torch.Tensor = self.head(attended[:, : self.read].mean(dim=1))
        return logits


@pytest.mark.parametrize("read", [TOKENS - 1, (TOKENS - 1) // 2])
def test_a_graph_that_reads_many_tokens_stays(read: int) -> None:
    assert operations(Pooled(read).eval(), "norm", "norm") == operations(Pooled(read).eval(), "norm", None)


def test_a_graph_without_the_mark_of_the_layer_stays() -> None:
    """Without a mark nothing would keep queries from bypassing the layer, and its gradient would lack their part."""
    network, layer = make_network("separate layers")

    assert operations(network, layer, "key") == operations(network, layer, None)


def operations(network: nn.Module, marked: str, layer: str | None) -> list[object]:
    captured = capture(network, marked)
    if layer:
        narrow(captured, layer)
    return [node.target for node in captured.graph.nodes]


def capture(network: nn.Module, layer: str) -> fx.GraphModule:
    return cutting.capture(network, torch.zeros(BATCH, 3, SIDE, SIDE), [layer])

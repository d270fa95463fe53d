"""Transformers written by hand: attention matrices `[heads,N,N]` look like maps, and are none.

Without `layer` such a network was explained at its last softmax, whose cells are pairs of tokens.
"""

import pytest
import torch
from torch import nn

from heatlens.card import Tokens
from heatlens.errors import CompileError
from heatlens_torch.graph import grids, places
from heatlens_torch.graph.layers import default_layer, layers_of
from heatlens_torch.graph.probe import probe

SIDE, PATCH = 48, 6  # the side of the compile tests' images; 64 cells and a class token


class HeadMixing(nn.Module):
    """Attention matrices mixed over the heads, then normalized: "DeepViT", Zhou et al. 2021, equation 3."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(heads, heads))
        self.norm = nn.LayerNorm(heads)

    def forward(self, attention: torch.Tensor) -> torch.Tensor:
        mixed = torch.einsum("bhij,hg->bijg", attention, self.weights)
        matrices: torch.Tensor = self.norm(mixed).permute(0, 3, 1, 2)
        return matrices


class Attention(nn.Module):
    """Self-attention whose softmax is a module of its own, as many people write it."""

    def __init__(self, width: int, heads: int, *, mix: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attend = nn.Softmax(dim=-1)
        self.mix = HeadMixing(heads) if mix else nn.Identity()
        self.project = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, count, width = tokens.shape
        parts = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        scores = queries @ keys.transpose(-1, -2) * (width // self.heads) ** -0.5
        weighted = self.mix(self.attend(scores)) @ values
        projected: torch.Tensor = self.project(weighted.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm."""

    def __init__(self, width: int, heads: int, *, mix: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, mix=mix)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        perceived: torch.Tensor = tokens + self.perceptron(self.norm2(tokens))
        return perceived


class Transformer(nn.Module):
    """A vision transformer with a class token and `registers` before the cells."""

    def __init__(self, *, side: int = SIDE, mix: bool = False, registers: int = 0, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.others = nn.Parameter(torch.randn(1, 1 + registers, width))
        self.places = nn.Parameter(torch.randn(1, (side // PATCH) ** 2, width))
        self.blocks = nn.Sequential(*[Block(width, 4, mix=mix) for _ in range(2)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.patches(image).flatten(2).transpose(1, 2) + self.places
        tokens = torch.cat([self.others.expand(len(cells), -1, -1), cells], dim=1)
        logits: torch.Tensor = self.head(self.blocks(tokens)[:, 0])
        return logits


def built(**changes: bool | int) -> nn.Module:
    torch.manual_seed(0)
    return Transformer(**changes).eval()  # type: ignore[arg-type]


def noise(side: int = SIDE) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("side", [SIDE, 84])
@pytest.mark.parametrize("kind", ["vit", "deepvit"])
def test_no_attention_matrix_is_listed(side: int, kind: str) -> None:
    network = built(mix=kind == "deepvit", side=side)

    listed = {candidate.name: candidate for candidate in layers_of(network, (side, side))}

    assert default_layer(network, (side, side)) == "blocks.1.norm1"
    assert {"patches", "blocks.0", "blocks.1.norm1"} <= set(listed)
    assert not [name for name in listed if name.endswith(("attend", "mix", "mix.norm"))]


@pytest.mark.parametrize(
    "layer", ["blocks.1.attention.attend", "blocks.0.attention.mix", "blocks.1.attention.mix.norm"]
)
def test_an_attention_matrix_that_is_named_is_refused_with_a_usable_layer(layer: str) -> None:
    with pytest.raises(CompileError) as caught:
        probe(built(mix=True), layer, noise())

    shape = (65, 65, 4) if layer.endswith("norm") else (4, 65, 65)
    assert str(caught.value) == (
        f"layer {layer!r} answers {shape}, and no grid of these follows the image: where the image is disturbed, other "
        "cells change; choose 'blocks.1.norm1' instead"
    )


def test_registers_are_no_cells() -> None:
    layout = probe(built(registers=4), "blocks.1.norm1", noise()).layout

    assert layout == grids.Layout(32, 8, 8, Tokens(order="rows", before=5))


class Turned(nn.Module):
    """A network whose last map does not lie as the image does."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=3, padding=1), nn.ReLU()
        )
        self.turn = Turn(kind)
        self.head = nn.Linear(16, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.turn(self.features(image)).square().mean(dim=(2, 3)))
        return logits


class Turn(nn.Module):
    """Lay a map `[B,C,8,8]` out otherwise."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        match self.kind:
            case "transposed":
                return cells.transpose(2, 3)
            case "flipped":
                return cells.flip(3)
            case "upside down":
                return cells.flip(2)
            case "turned":
                return cells.rot90(1, (2, 3))
            case "shifted":
                return cells.roll((4, 4), (2, 3))
            case "shifted sideways":
                return cells.roll(3, 3)
        return cells.clone()


KINDS = ("transposed", "flipped", "upside down", "turned", "shifted", "shifted sideways")


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_that_does_not_lie_as_the_image_does_is_refused(kind: str) -> None:
    torch.manual_seed(0)
    network = Turned(kind).eval()

    with pytest.raises(CompileError, match=r"^layer 'turn' answers .*; choose 'features' instead$"):
        probe(network, "turn", noise())
    assert default_layer(network, (SIDE, SIDE)) == "features"
    assert default_layer(Turned("as it is").eval(), (SIDE, SIDE)) == "turn"


def test_the_grid_of_a_description_is_checked_too() -> None:
    torch.manual_seed(0)
    network = Turned("turned").eval()

    measured = places.measure(network, "turn", grids.Layout(16, 8, 8), noise())

    assert not measured.follow(grids.Layout(16, 8, 8))

"""Small vision transformers that read their logits from a class token, and how much their graphs compute."""

from collections.abc import Callable

import timm
import torch
import torchvision
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from heatlens_torch.graph import cut as cutting
from heatlens_torch.graph.narrow import narrow
from heatlens_torch.graph.simplify import simplify

SIDE, PATCH, WIDTH, HEADS, HIDDEN, CLASSES = 64, 16, 32, 2, 48, 5
TOKENS = (SIDE // PATCH) ** 2 + 1
BATCH = 3  # of the capture: no other size of these networks


class Separate(nn.Module):
    """Makes queries, keys and values by layers of their own, and attention by products and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(image), -1, -1), cells], dim=1)
        normal = self.norm(tokens)
        query, key, value = (
            layer(normal).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = (query @ key.transpose(-2, -1) * 0.25).softmax(dim=-1)
        attended = self.out((weights @ value).transpose(1, 2).flatten(2))
        logits: torch.Tensor = self.head(torch.tanh(tokens + attended)[:, 0])
        return logits


def _of_torchvision() -> nn.Module:
    network: nn.Module = torchvision.models.VisionTransformer(SIDE, PATCH, 1, HEADS, WIDTH, HIDDEN, num_classes=CLASSES)
    for parameter in network.get_submodule("heads").parameters():
        nn.init.normal_(parameter)  # they are zeros
    return network


def _of_timm(name: str) -> nn.Module:
    sizes = {"img_size": SIDE, "embed_dim": WIDTH, "num_heads": HEADS, "mlp_ratio": HIDDEN / WIDTH}
    network: nn.Module = timm.create_model(name, depth=1, num_classes=CLASSES, **sizes)
    return network


# How to make each, and the layer whose output is explained: the last before the attention.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "one layer for queries, keys and values": (lambda: _of_timm("deit_tiny_patch16_224"), "blocks.0.norm1"),
    "two tokens": (lambda: _of_timm("deit_tiny_distilled_patch16_224"), "blocks.0.norm1"),
    "MultiheadAttention": (_of_torchvision, "encoder.layers.encoder_layer_0.ln_1"),
    "separate layers": (Separate, "norm"),
}


def make_network(name: str) -> tuple[nn.Module, str]:
    """Make one of these with seeded weights; return its layer too."""
    torch.manual_seed(0)
    make, layer = NETWORKS[name]
    return make().eval(), layer


def cut_at(network: nn.Module, layer: str, *, narrowed: bool = True) -> cutting.Cut:
    """Cut a network as `export` does, without a grid."""
    captured = cutting.capture(network, torch.zeros(BATCH, 3, SIDE, SIDE), [layer])
    if narrowed:
        narrow(captured, layer)
    simplify(captured)
    return cutting.split(captured, cutting.find_cut(captured.graph, layer))


def count_products(graph: fx.GraphModule, *inputs: torch.Tensor) -> int:
    """Count the multiplications of numbers in the matrix products of a graph."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        graph(*inputs)
    return counter.get_total_flops() // 2

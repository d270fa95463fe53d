"""A simplified graph computes the same with operators whose derivatives have a conversion."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from heatlens_torch.graph.export import export
from heatlens_torch.graph.probe import probe
from tests.functional.compile.test_compile import worst
from tests.unit.heatlens_torch.graph.test_expand_late import by_onnx_runtime


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


class Padded(nn.Module):
    """A map that is padded by a constant, or cut, between its layer and its logits."""

    def __init__(self, widths: tuple[int, ...], fill: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.head = nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(4, 3, 2)
        self.widths, self.fill = widths, fill

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.rest(self.features(image))

    def rest(self, activation: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(activation, self.widths, value=self.fill)
        logits: torch.Tensor = torch.tanh(self.head(torch.sin(padded))).mean(dim=(2, 3))
        return logits


@pytest.mark.parametrize(("widths", "fill"), [((0, 1, 2, 0), 1.5), ((-1, 1, 0, -2), 0.5)])
def test_a_padding_keeps_the_batch_free(widths: tuple[int, ...], fill: float) -> None:
    network, image = Padded(widths, fill).eval(), torch.randn(5, 3, 32, 32)

    [graphs] = export(network, {"features": probe(network, "features", image)}, (32, 32))

    activation = network.features(image)
    logits = network.rest(activation)
    [expected] = torch.autograd.grad(logits[:, 1].sum(), activation)
    given = activation.detach().numpy(), np.array([[0, 1, 0]] * len(image), np.float32), np.arange(len(image))
    assert worst(by_onnx_runtime(graphs.tail, *given), expected.numpy()) < 1e-5


class Clamped(nn.Module):
    """Three clamps by tensors of one input, as Gemma's ViT has around queries, keys and values."""

    low: torch.Tensor
    high: torch.Tensor
    none: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 4, 8, stride=8)
        for name, bound in (("low", -0.2), ("high", 0.3), ("none", float("inf"))):
            self.register_buffer(name, torch.tensor(bound))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.rest(self.features(image))

    def rest(self, activation: torch.Tensor) -> torch.Tensor:
        doubled = activation * 2
        parts = [(self.low, self.high), (self.low, self.none), (-self.none, self.none), (None, self.high)]
        clamped = [torch.clamp(doubled, *bounds) for bounds in parts]
        return (clamped[0] * clamped[1].sin() + clamped[2] * clamped[3]).mean(dim=(2, 3))


def test_a_clamp_by_tensors_becomes_one_by_numbers() -> None:
    network, image = Clamped().eval(), torch.randn(5, 3, 32, 32)

    [graphs] = export(network, {"features": probe(network, "features", image)}, (32, 32))

    activation = network.features(image)
    logits = network.rest(activation)
    [expected] = torch.autograd.grad(logits[:, 1].sum(), activation)
    given = activation.detach().numpy(), np.array([[0, 1, 0, 0]] * len(image), np.float32), np.arange(len(image))
    assert worst(by_onnx_runtime(graphs.tail, *given), expected.numpy()) < 1e-5

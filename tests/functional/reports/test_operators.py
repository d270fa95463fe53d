"""Operators behind the target layer: maps equal autograd's in both engines of the graphs, or the operator is named.

Each operator is a branch with a logit of its own, so one compilation proves them all one by one.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from heatlens.engines.base import Engine
from heatlens.engines.onnx_runtime import OnnxRuntimeEngine
from heatlens.engines.openvino import OpenVinoEngine
from heatlens.errors import CompileError, ParityError
from heatlens.types import Floats
from heatlens_torch.errors import INSTEAD
from heatlens_torch.graph.export import export
from heatlens_torch.graph.graph_file import write_graph
from heatlens_torch.graph.probe import probe
from heatlens_torch.proof.parity import THRESHOLD, prove, ratio

CHANNELS, PIXELS = 8, 16  # 4x4 cells: an LSTM is unrolled over all of them
IMAGES = 5
LARGER, MOST = 24, 30  # 6x6 cells, of which 30 are taken: torch sorts 16 and fewer in their order
Tail = Callable[[], nn.Module]


class Computed(nn.Module):
    """A function of the map, with the modules that it uses."""

    def __init__(self, compute: Callable[..., torch.Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.compute, self.used = compute, nn.ModuleList(modules)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.compute(cells, *self.used)
        return answer


def same() -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)


def pooled(compute: Callable[..., torch.Tensor], *modules: nn.Module) -> nn.Module:
    return nn.Sequential(Computed(compute, *modules), nn.Flatten())


def mean(cells: torch.Tensor) -> torch.Tensor:
    return cells.mean(dim=(2, 3))


def concatenated(largest: nn.Module, average: nn.Module) -> nn.Module:
    """fastai's AdaptiveConcatPool2d and its head."""
    both = Computed(lambda cells, one, two: torch.cat([one(cells), two(cells)], 1), largest, average)
    return nn.Sequential(both, nn.Flatten(), nn.LazyLinear(CHANNELS), nn.ReLU())


def netvlad(cells: torch.Tensor, assign: nn.Module, centers: nn.Embedding) -> torch.Tensor:
    """Sum the differences of each cell from learned centers, by how much the cell belongs to them."""
    shares: torch.Tensor = assign(cells).flatten(2).softmax(dim=1)
    apart = cells.flatten(2)[:, None] - centers.weight[None, :, :, None]
    return functional.normalize((shares[:, :, None] * apart).sum(-1), dim=2).flatten(1)


def blurred(cells: torch.Tensor) -> torch.Tensor:
    """Zhang's max-blur pooling: shift-invariant."""
    row = torch.tensor([1.0, 2.0, 1.0])
    kernel = (row[:, None] * row / 16).expand(CHANNELS, 1, 3, 3)
    largest = functional.max_pool2d(cells, 2, stride=1)
    return functional.conv2d(functional.pad(largest, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=CHANNELS)


def highway(cells: torch.Tensor, changed: nn.Module, gate: nn.Module) -> torch.Tensor:
    share: torch.Tensor = gate(cells).sigmoid()
    answer: torch.Tensor = share * changed(cells).relu() + (1 - share) * cells
    return answer


def attended(cells: torch.Tensor, score: nn.Module) -> torch.Tensor:
    """Weigh the cells by a softmax over all of them."""
    weights: torch.Tensor = score(cells).flatten(2).softmax(-1)
    return (weights * cells.flatten(2)).sum(-1)


def cbam(cells: torch.Tensor, squeeze: nn.Module, place: nn.Module) -> torch.Tensor:
    """Woo's attention of channels, then of places."""
    channels = (squeeze(cells.mean((2, 3))) + squeeze(cells.amax((2, 3)))).sigmoid()[:, :, None, None]
    cells = cells * channels
    both = torch.cat([cells.mean(1, keepdim=True), cells.amax(1, keepdim=True)], dim=1)
    answer: torch.Tensor = cells * place(both).sigmoid()
    return answer


def squeezing() -> nn.Module:
    return nn.Sequential(nn.Linear(CHANNELS, 2), nn.ReLU(), nn.Linear(2, CHANNELS))


def point() -> nn.Module:
    return nn.Conv2d(CHANNELS, 1, 1)


TAILS: dict[str, Tail] = {
    "transposed convolution": lambda: nn.ConvTranspose2d(CHANNELS, 3, 4, stride=2, padding=1, output_padding=1),
    "NetVLAD": lambda: Computed(netvlad, nn.Conv2d(CHANNELS, 4, 1), nn.Embedding(4, CHANNELS)),
    "max-blur pooling": lambda: Computed(blurred),
    "highway": lambda: Computed(highway, same(), same()),
    "attention pooling": lambda: Computed(attended, point()),
    "GELU by tanh": lambda: nn.Sequential(same(), nn.GELU(approximate="tanh")),
    "CBAM": lambda: Computed(cbam, squeezing(), nn.Conv2d(2, 1, 3, padding=1)),
    "pooling of the largest three": lambda: Computed(lambda cells: cells.flatten(2).topk(3, dim=-1).values.mean(-1)),
    "sorted pooling": lambda: Computed(lambda cells: cells.flatten(2).sort(dim=-1).values[..., -4:]),
    "a window larger than the map": lambda: nn.AvgPool2d(40, ceil_mode=True),
    "the largest and the mean": lambda: concatenated(nn.AdaptiveMaxPool2d(1), nn.AdaptiveAvgPool2d(1)),
}


class Branches(nn.Module):
    """A map, and a logit from each tail."""

    def __init__(self, tails: list[nn.Module], end: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, stride=4), nn.GELU(), same(), end)
        self.tails = nn.ModuleList(tails)
        self.heads = nn.ModuleList(nn.Sequential(nn.Flatten(), nn.LazyLinear(1)) for _ in tails)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.body(image)
        return torch.cat([head(tail(cells)) for tail, head in zip(self.tails, self.heads, strict=True)], dim=1)


def branches(*tails: Tail, end: nn.Module | None = None, pixels: int = PIXELS) -> nn.Module:
    torch.manual_seed(0)
    network = Branches([tail() for tail in tails], end or nn.Tanh()).eval()
    network(torch.zeros(1, 3, pixels, pixels))
    return network


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return branches(*TAILS.values())


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(IMAGES, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def engines(network: nn.Module, images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    return opened(network, images, tmp_path_factory.mktemp("operators"))


def opened(network: nn.Module, images: torch.Tensor, folder: Path) -> dict[str, Engine]:
    height, width = images.shape[2:]
    [graphs] = export(network, {"body": probe(network, "body", images[:2])}, (height, width))
    trunk, tail = write_graph(graphs.trunk, folder / "trunk.onnx"), write_graph(graphs.tail, folder / "tail.onnx")
    return {
        "openvino": OpenVinoEngine(folder, trunk, tail),
        "onnxruntime": OnnxRuntimeEngine(folder, trunk, tail),
    }


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", TAILS)
def test_logit_and_gradient_equal_autograds(
    name: str, engine: str, network: nn.Module, images: torch.Tensor, engines: dict[str, Engine]
) -> None:
    which = list(TAILS).index(name)
    cells = network.get_submodule("body")(images).detach().requires_grad_()
    tail, head = network.get_submodule(f"tails.{which}"), network.get_submodule(f"heads.{which}")
    expected = head(tail(cells))
    [wanted] = torch.autograd.grad(expected.sum(), cells)

    logits, gradient = explained(engines[engine], images.numpy(), which)

    assert ratio(logits[:, which], expected.detach().numpy()[:, 0]) < THRESHOLD
    assert ratio(gradient, wanted.numpy()) < THRESHOLD


def explained(engine: Engine, images: Floats, which: int) -> tuple[Floats, Floats]:
    """Explain one image, then the others."""
    parts = []
    for batch in (images[:1], images[1:]):
        selector = np.eye(len(TAILS), dtype=np.float32)[[which] * len(batch)]
        parts.append(engine.tail(engine.trunk(batch), selector))
    logits, gradients = zip(*parts, strict=True)
    return np.concatenate(logits), np.concatenate(gradients)


@pytest.mark.parametrize(
    ("tail", "operator"),
    [
        (lambda: Computed(lambda cells: cells.flatten(2).topk(MOST, dim=-1).values.mean(-1)), "topk"),
        (lambda: Computed(lambda cells: cells.flatten(2).sort(dim=-1).values[..., -MOST:]), "sort"),
    ],
    ids=["the largest", "sorted"],
)
def test_an_operator_that_chooses_among_equal_values_is_named(tail: Tail, operator: str, tmp_path: Path) -> None:
    """The zeros of a ReLU: torch and each engine take others of them."""
    network = branches(tail, end=nn.ReLU(), pixels=LARGER)
    images = torch.randn(IMAGES, 3, LARGER, LARGER, generator=torch.Generator().manual_seed(1))
    layout = probe(network, "body", images[:2]).layout
    for engine in opened(network, images, tmp_path).values():
        with pytest.raises(ParityError) as refused:
            prove(engine, network, "body", images.numpy(), layout, inputs=IMAGES)

        assert f"operator {operator} chooses among equal values, as the zeros of a ReLU" in str(refused.value)
        assert "take a layer before the ReLU" in str(refused.value)


class Recurrent(nn.Module):
    """Reads the cells as a sequence."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.layer = kind(CHANNELS, CHANNELS, batch_first=True)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layer(cells.flatten(2).transpose(1, 2))[0][:, -1]
        return answer


def deformed() -> nn.Module:
    return pooled(
        lambda cells, offsets, deform: mean(deform(cells, offsets(cells))),
        nn.Conv2d(CHANNELS, 18, 3, padding=1),
        torchvision.ops.DeformConv2d(CHANNELS, CHANNELS, 3, padding=1),
    )


def pooled_in_a_box(cells: torch.Tensor) -> torch.Tensor:
    number = torch.arange(cells.shape[0], dtype=cells.dtype)[:, None]
    boxes = torch.cat([number, torch.tensor([[0.5, 0.5, 3.0, 2.5]]).expand(cells.shape[0], 4)], dim=1)
    answer: torch.Tensor = torchvision.ops.roi_align(cells, boxes, 2)
    return answer


def sampled(cells: torch.Tensor) -> torch.Tensor:
    """The middle of the map, as a spatial transformer takes it."""
    halved = (0.5 * torch.eye(2, 3)).expand(cells.shape[0], 2, 3)
    grid = functional.affine_grid(halved, [cells.shape[0], CHANNELS, 3, 3], align_corners=False)
    return functional.grid_sample(cells, grid, align_corners=False)


@pytest.mark.parametrize(
    ("tail", "operator"),
    [
        (lambda: Recurrent(nn.LSTM), "lstm"),
        (lambda: Recurrent(nn.GRU), "gru"),
        (deformed, "deform_conv2d"),
        (lambda: nn.LocalResponseNorm(3), "avg_pool3d_backward"),
        (lambda: pooled(lambda cells: torch.fft.rfft2(cells).abs().mean((2, 3))), "fft_rfft2"),
        (lambda: Computed(pooled_in_a_box), "roi_align"),
        (lambda: Computed(sampled), "grid_sampler_2d_backward"),
    ],
    ids=["LSTM", "GRU", "deformable convolution", "local response normalization", "FFT", "RoIAlign", "sampled grid"],
)
@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_an_operator_that_cannot_be_compiled_is_named_with_the_layer_and_the_way_out(
    tail: Tail, operator: str, tmp_path: Path
) -> None:
    network = branches(tail)
    probed = probe(network, "body", torch.zeros(2, 3, PIXELS, PIXELS))

    with pytest.raises(CompileError) as refused:
        list(export(network, {"body": probed}, (PIXELS, PIXELS)))

    message = str(refused.value)
    assert f"operator {operator} " in message
    assert "after 'body'" in message
    assert INSTEAD in message
    assert "\n" not in message

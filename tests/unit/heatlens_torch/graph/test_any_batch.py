"""A graph that was captured for one size of batch is freed from it, or refused."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from heatlens.errors import CompileError
from heatlens_torch.graph.any_batch import has_fixed_batch
from heatlens_torch.graph.cut import capture

IMAGES = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Forward = Callable[[torch.Tensor], torch.Tensor]


class Written(nn.Module):
    """A network whose forward is a function."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.written = forward

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.written(image)


FREED: dict[str, Forward] = {
    "len": lambda image: image.reshape(len(image), 3, -1).mean(2),
    "int": lambda image: image.reshape(int(image.shape[0]) * 3, 64).mean(1).reshape(int(image.shape[0]), 3),
    "zeros": lambda image: torch.zeros(len(image), 3) + image.mean((2, 3)),
    "arange": lambda image: image.mean((2, 3))[torch.arange(len(image))],
    "repeat": lambda image: torch.cat([torch.ones(1, 2).repeat(len(image), 1), image.mean((2, 3))], 1),
    "one less": lambda image: image.mean((2, 3)) + torch.zeros(len(image) + 1, 3)[: int(image.shape[0])],
}
LINE = r".* of its batch \(test_any_batch\.py:\d+\)"
REFUSED: dict[str, tuple[Forward, str]] = {
    "loop": (
        lambda image: torch.stack([image[i].mean((1, 2)) for i in range(len(image))]),
        "repeats an operation" + LINE,
    ),
    "unbind": (lambda image: torch.stack([each.mean((1, 2)) for each in image]), "repeats an operation" + LINE),
    "list": (lambda image: image.mean((2, 3)) + torch.tensor([[0.0]] * len(image)), "has a constant with" + LINE),
    "float": (lambda image: image.mean((2, 3)) * (1.0 / len(image)), "computes with the number" + LINE),
    "fits two sizes": (
        lambda image: image.mean((2, 3)) + (max(0, len(image) - 8) + max(0, 3 - len(image))),
        "computes with the number of .* answers a batch of 1 otherwise",
    ),
    "half": (lambda image: image[: len(image) // 2 + 1].mean((2, 3)), "computes with the number" + LINE),
}


@pytest.mark.parametrize("name", FREED)
def test_numbers_that_follow_the_batch_are_freed(name: str) -> None:
    network = Written(FREED[name])

    captured = capture(network, IMAGES[:5])

    assert not has_fixed_batch(captured)
    graph = torch.fx.GraphModule(captured, captured.graph)
    for size in (1, 2, 7):
        torch.testing.assert_close(graph(IMAGES[:size]), network(IMAGES[:size]))


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_follow_the_batch_is_refused_with_its_line(name: str) -> None:
    forward, what = REFUSED[name]

    with pytest.raises(CompileError, match=rf"^the network {what}: take sizes from tensors without len"):
        capture(Written(forward), IMAGES[:5])

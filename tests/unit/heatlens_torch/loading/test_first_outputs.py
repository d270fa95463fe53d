"""A block that answers a tuple can be a target layer by its first tensor."""

from typing import Any

import pytest
import torch
from torch import nn

from heatlens_torch.graph.layers import default_layer
from heatlens_torch.loading.first_outputs import name_first_outputs
from heatlens_torch.proof import reference

IMAGE = torch.zeros(2, 3, 16, 16)


class Block(nn.Module):
    """Adds a branch to its input, and answers it beside weights, as blocks of transformers do."""

    def __init__(self, answer: type = tuple) -> None:
        super().__init__()
        self.branch, self.answer = nn.Conv2d(4, 4, 3, padding=1), answer

    def forward(self, cells: torch.Tensor) -> Any:  # noqa: ANN401 - a tuple or list
        return self.answer([cells + self.branch(cells), None])


class Stage(nn.Module):
    """Answers what its block answers."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, cells: torch.Tensor) -> Any:  # noqa: ANN401 - a tuple or list
        return self.block(cells)


class Alone(nn.Module):
    """Answers a tuple with a tensor that one of its modules answers."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Tanh()

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.last(cells), None


class Network(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = nn.Conv2d(3, 4, 4, stride=4), nn.ModuleList(blocks), nn.Linear(4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.stem(image)
        for block in self.blocks:
            cells = block(cells)[0]
        logits: torch.Tensor = self.head(cells.mean((2, 3)))
        return logits


def network(*blocks: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return Network(*blocks).eval()


@pytest.mark.parametrize("answer", [tuple, list])
def test_the_sum_of_the_last_block_is_the_default_layer(answer: type) -> None:
    built, image = network(Block(), Block(answer)), torch.randn(2, 3, 16, 16)
    expected = built(image)
    assert default_layer(built, (16, 16)) == "blocks.1.branch", "a part of what the logits depend on"

    names = name_first_outputs(built, IMAGE)

    assert names == ["blocks.0.first_output", "blocks.1.first_output"]
    assert default_layer(built, (16, 16)) == "blocks.1.first_output"
    assert torch.equal(built(image), expected)


def test_a_map_is_of_the_whole_sum() -> None:
    built, image = network(Block()), torch.randn(2, 3, 16, 16)
    name_first_outputs(built, IMAGE)
    sums: list[torch.Tensor] = []
    built.get_submodule("blocks.0").register_forward_hook(lambda _module, _input, output: sums.append(output[0]))

    found = reference.explain(built, "blocks.0.first_output", image, [0, 1])

    with torch.no_grad():
        built(image)
    weights = built.get_submodule("head").weight[:2] / 16  # type: ignore[index]
    expected = (sums[-1] * weights[:, :, None, None]).sum(1)
    assert torch.allclose(torch.from_numpy(found.signed_map), expected.detach(), atol=1e-6)


def test_of_nested_modules_the_outermost_has_the_name() -> None:
    assert name_first_outputs(network(Stage(Block())), IMAGE) == ["blocks.0.first_output"]


def test_a_tensor_that_a_module_answers_alone_has_a_name() -> None:
    assert name_first_outputs(network(Alone()), IMAGE) == []


def test_modules_of_torch_are_left_alone() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.LSTM(48, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.layer(image.flatten(2).reshape(-1, 16, 48))[0].mean(1))
            return logits

    assert name_first_outputs(Recurrent().eval(), IMAGE) == []

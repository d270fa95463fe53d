from collections.abc import Callable

import pytest
import torch
from torch import nn

from heatlens_torch.graph.undifferentiable import lost_at, refusal

IMAGE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Applied(nn.Module):
    """A linear layer behind a function of the pooled image."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.head = function, nn.Linear(3, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.head(self.function(image.mean(dim=(2, 3)))))


def frozen(value: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.tanh(value)


LOST: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "operator round": torch.round,
    "operator round_": lambda value: (value * 1).round_(),
    "operator sign": torch.sign,
    "operator detach": lambda value: torch.relu(value.detach()),
    "operator data": lambda value: value.data,
    "operator gt": lambda value: (value > 0).float(),
    "operator argmax": lambda value: nn.functional.one_hot(value.argmax(dim=1), 3).float(),
    "operator tanh under no_grad()": frozen,
}
KEPT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "smooth": torch.tanh,
    "straight-through": lambda value: value + (value.round() - value).detach(),
    "masked": lambda value: torch.where(value > 0, value, torch.zeros_like(value)),
    "constant": lambda value: value + torch.ones(3).round(),
}


@pytest.mark.parametrize("expected", LOST)
def test_names_the_operator_that_takes_the_gradient(expected: str) -> None:
    found = lost_at(Applied(LOST[expected]), IMAGE)

    assert found is not None
    assert found.partition(" (")[0] == expected


@pytest.mark.parametrize("kind", KEPT)
def test_names_nothing_where_a_gradient_remains(kind: str) -> None:
    assert lost_at(Applied(KEPT[kind]), IMAGE) is None


def test_a_refusal_has_the_way_out_where_no_operator_is_found() -> None:
    network = Applied(lambda value: torch.tensor(value.tolist()))

    assert refusal(network, IMAGE).startswith(
        "detach(), no_grad() or numbers taken out of tensors lie between; compile"
    )

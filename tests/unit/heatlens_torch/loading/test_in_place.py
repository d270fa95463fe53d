"""A network that overwrites an activation in place is differentiated as if it did not."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from heatlens_torch.loading.in_place import allow_in_place

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Gated(nn.Module):
    """Multiplies the result of a ReLU by a gate, in place or not."""

    def __init__(self, *, in_place: bool, functionally: bool = False) -> None:
        super().__init__()
        self.in_place, self.functionally = in_place, functionally
        self.relu = nn.ReLU()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        grid = functional.relu(image) if self.functionally else self.relu(image)
        gate = torch.sigmoid(grid.mean((2, 3), keepdim=True))
        if self.in_place:
            grid *= gate
            grid.mul_(2)
        else:
            grid = grid * gate * 2
        return grid.mean((2, 3))


def gradient(network: nn.Module) -> torch.Tensor:
    image = IMAGE.clone().requires_grad_()
    [found] = torch.autograd.grad(network(image)[:, 0].sum(), image)
    return found


@pytest.mark.parametrize("functionally", [True, False])
def test_a_gate_in_place_has_the_gradient_of_one_that_is_not(*, functionally: bool) -> None:
    network = Gated(in_place=True, functionally=functionally)
    answer = network(IMAGE)

    assert allow_in_place(network, IMAGE)

    assert torch.equal(network(IMAGE), answer)
    torch.testing.assert_close(gradient(network), gradient(Gated(in_place=False)))


def test_other_networks_are_left_as_they_are() -> None:
    network = Gated(in_place=False)

    assert not allow_in_place(network, IMAGE)
    assert not network._forward_hooks


def test_an_activation_that_works_in_place_still_does() -> None:
    class Ignoring(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            grid = image * 1
            functional.relu(grid, inplace=True)
            gate = torch.sigmoid(grid)
            gate *= 2
            return gate.mean((2, 3))

    network = Ignoring()
    answer = network(IMAGE)

    assert allow_in_place(network, IMAGE)
    assert torch.equal(network(IMAGE), answer)

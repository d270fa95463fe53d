"""Many targets of an image cost its forward pass once, and each has the gradient that it has alone."""

import pytest
import torch
from torch import nn

from heatlens_torch.graph import cut as cutting
from heatlens_torch.graph.differentiate import differentiate
from heatlens_torch.graph.selector import explained_selector
from tests.support.class_tokens import BATCH, CLASSES, NETWORKS, SIDE, count_products, cut_at, make_network

IMAGES = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


class Convolutions(nn.Module):
    """A tail with every kind of forward value that a gradient needs: a ReLU's sign, the largest cell, a pooled map."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Tanh())
        self.rest = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.SiLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Sequential(nn.Linear(64, 16), nn.GELU(), nn.Linear(16, CLASSES))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.rest(self.features(image)).flatten(1))
        return logits


def split(name: str) -> tuple[cutting.Cut, tuple[torch.Tensor, ...]]:
    """Return the parts of a network, and what crosses the cut for the images."""
    torch.manual_seed(0)
    network, layer = (Convolutions().eval(), "features") if name == "convolutions" else make_network(name)
    cut = cut_at(network, layer)
    with torch.no_grad():
        values = cut.trunk(IMAGES)
    return cut, values if isinstance(values, tuple) else (values,)


def rows_of(targets: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make selectors with so many targets for each image, the first its predicted class, and their owners."""
    owners = torch.arange(BATCH).repeat_interleave(targets)
    selector = torch.randn(len(owners), CLASSES, generator=torch.Generator().manual_seed(2))
    selector[::targets] = 0
    return selector, owners


@pytest.mark.parametrize("targets", [1, 3, 10])
@pytest.mark.parametrize("name", [*NETWORKS, "convolutions"])
def test_each_row_has_the_logits_and_gradient_of_its_image(name: str, targets: int) -> None:
    cut, crossing = split(name)
    selector, owners = rows_of(targets)

    logits, gradient = differentiate(cut.tail, crossing, CLASSES, layer="its layer")(*crossing, selector, owners)

    for row, owner in enumerate(owners):
        activation, *others = (value[owner][None].clone() for value in crossing)
        alone = cut.tail(activation.requires_grad_(), *others)
        (expected,) = torch.autograd.grad(alone, activation, explained_selector(selector[row][None], alone.detach()))
        assert (logits[row] - alone[0]).abs().max() <= 1e-5 * alone.abs().max()
        assert (gradient[row] - expected[0]).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", [*NETWORKS, "convolutions"])
def test_a_target_more_costs_only_its_own_gradient(name: str) -> None:
    cut, crossing = split(name)
    graph = differentiate(cut.tail, crossing, CLASSES, layer="its layer")

    one, three, ten = (count_products(graph, *crossing, *rows_of(targets)) for targets in (1, 3, 10))

    forward = count_products(cut.tail, *crossing)
    assert one - forward == (three - one) / 2 == (ten - one) / 9
    # A gradient multiplies by each weight once, as the forward pass does, and of attention by one more pair.
    assert one - forward <= 1.2 * forward


def test_owners_may_come_in_any_order_and_number() -> None:
    cut, crossing = split("separate layers")
    graph = differentiate(cut.tail, crossing, CLASSES, layer="its layer")
    selector, owners = rows_of(3)
    logits, gradient = graph(*crossing, selector, owners)

    wanted = torch.tensor([8, 0, 4, 4])
    again = graph(*crossing, selector[wanted], owners[wanted])

    torch.testing.assert_close(again, (logits[wanted], gradient[wanted]))

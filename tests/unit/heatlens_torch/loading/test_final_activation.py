"""A softmax or sigmoid at the end of a network is left out, and one inside it stays."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from heatlens.errors import CompileError
from heatlens_torch.graph.cut import capture
from heatlens_torch.loading.final_activation import remove_final_activation

IMAGE = torch.zeros(2, 3, 8, 8)
End = Callable[[torch.Tensor], torch.Tensor]


class Ending(nn.Module):
    """Attention over channels by a softmax, three logits, and an end."""

    def __init__(self, end: End) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.end = end

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        pooled = self.stem(image).mean(dim=(2, 3))
        answer: torch.Tensor = self.head(pooled * pooled.softmax(dim=1))
        return answer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.end(self.logits(image))


ENDS: dict[str, tuple[str, End]] = {
    "module": ("softmax", nn.Softmax(dim=1)),
    "function": ("softmax", lambda x: functional.softmax(x, dim=-1)),
    "method": ("sigmoid", lambda x: x.sigmoid()),
    "module in a sequence": ("sigmoid", nn.Sequential(nn.Identity(), nn.Sigmoid())),
    "torch": ("sigmoid", torch.sigmoid),
    "logarithm": ("log_softmax", nn.LogSoftmax(dim=1)),
    "named": ("softmax", lambda x: torch.softmax(input=x, dim=1)),
    "operator of an exported program": ("softmax", lambda x: torch.ops.aten.softmax.int(x, 1)),
    "seen as rows": ("softmax", lambda x: x.softmax(dim=1).view(-1, 3)),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_last_activation_is_left_out_and_named(name: str) -> None:
    kind, end = ENDS[name]
    network = Ending(end).eval()
    image = torch.randn(2, 3, 8, 8)

    assert remove_final_activation(network, IMAGE) == kind

    assert torch.equal(network(image), network.logits(image))
    captured = capture(network, torch.randn(3, 3, 8, 8))
    torch.testing.assert_close(captured(image), network.logits(image))
    assert torch.equal(functional.softmax(image, dim=1), image.softmax(dim=1))


def test_logits_stay_as_they_are() -> None:
    network = Ending(lambda x: x).eval()
    assert remove_final_activation(network, IMAGE) is None
    assert torch.equal(network(IMAGE), network.logits(IMAGE))


def test_the_hooks_end_with_the_network_that_raises() -> None:
    network = Ending(nn.Softmax(dim=1)).eval()
    remove_final_activation(network, IMAGE)
    with pytest.raises(RuntimeError):
        network(torch.zeros(2, 1, 8, 8))

    assert torch.zeros(1, 2).softmax(dim=1).tolist() == [[0.5, 0.5]]


def test_probabilities_that_no_softmax_makes_are_refused() -> None:
    network = Ending(lambda x: x.exp() / x.exp().sum(dim=1, keepdim=True)).eval()
    with pytest.raises(CompileError, match=r"answers probabilities: every row sums to 1.*Let it return its logits"):
        remove_final_activation(network, IMAGE)

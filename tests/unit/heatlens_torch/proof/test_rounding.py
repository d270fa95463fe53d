"""The proof sets aside images whose explanation rounding decides."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from heatlens.errors import ParityError
from heatlens.types import Floats
from heatlens_torch.errors import INSTEAD
from heatlens_torch.graph.grids import Layout
from heatlens_torch.proof import parity, rounding

CHANNELS, SIDE, COUNT = 4, 2, 40
LAYOUT = Layout(CHANNELS, SIDE, SIDE)
ROUNDING = 1e-7


class Kinked(nn.Module):
    """Four ReLUs behind the mean of the layer `features`; the first closed, all maps have positive evidence."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, CHANNELS, 1), nn.Softplus())
        self.hidden = nn.Linear(CHANNELS, 4)
        self.head = nn.Linear(4, 3)
        with torch.no_grad():
            self.hidden.weight[1:].abs_()
            self.head.weight.abs_()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = self.values(self.features(image))
        logits: torch.Tensor = self.head(values * (values > 0))
        return logits

    def values(self, activation: torch.Tensor) -> torch.Tensor:
        """What the ReLUs are given."""
        before: torch.Tensor = self.hidden(activation.mean(dim=(2, 3)))
        return before


class Jumping:
    """An engine whose first ReLU is on the other side near zero; what it answers of an image can be wrong besides."""

    name, precision, device = "jumping", "f32", "CPU"

    def __init__(self, network: Kinked, *, gradient: float = 1, logits: float = 0) -> None:
        self._network, self._gradient, self._logits = network, gradient, logits

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        with torch.no_grad():
            return (self._network.features(torch.from_numpy(batch)).numpy(),)

    def tail(self, crossing: Sequence[Floats], _selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        activation = torch.from_numpy(crossing[0]).requires_grad_()
        values = self._network.values(activation)
        opened = values > 0
        opened[:, 0] ^= values[:, 0].abs() < ROUNDING
        logits = self._network.head(values * opened)
        logits.max(dim=1).values.sum().backward()
        assert activation.grad is not None
        return logits.detach().numpy() + np.float32(self._logits), activation.grad.numpy() * np.float32(self._gradient)


@pytest.fixture(scope="module")
def network() -> Kinked:
    return Kinked().eval()


@torch.no_grad()
def pictures(network: Kinked, *, at_the_kink: Sequence[int] = ()) -> Floats:
    """Images, some of them shifted until the first ReLU is given zero, to the last place."""
    images = torch.randn(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def before(shift: torch.Tensor) -> torch.Tensor:
        return network.values(network.features(images + shift[:, None, None, None]))[:, 0]

    low, high = torch.full((COUNT,), -20.0), torch.full((COUNT,), 20.0)
    rising = before(high) > before(low)
    for _ in range(60):
        middle = (low + high) / 2
        above = (before(middle) > 0) == rising
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    chosen = list(at_the_kink)
    images[chosen] += high[chosen, None, None, None]
    return images.numpy()


def prove(network: Kinked, images: Floats, **wrong: float) -> tuple[int, int, list[int]]:
    found = parity.prove(Jumping(network, **wrong), network, "features", images, LAYOUT)
    assert found.parity.largest < parity.THRESHOLD
    return found.parity.inputs, found.parity.undecided, found.kept


def test_an_image_that_pytorch_grad_cam_explains_unstably_is_replaced_by_the_next(network: Kinked) -> None:
    images = pictures(network, at_the_kink=[3, 17, 33])
    ours = parity.explain_compiled(Jumping(network), images, np.zeros((COUNT, 3), np.float32))
    theirs = parity.explain_reference(network, "features", images, LAYOUT)
    [apart] = np.nonzero(parity.distances(ours, theirs) > parity.THRESHOLD)
    assert apart.tolist() == [3, 17, 33], "the engine was to jump there"

    assert prove(network, images) == (32, 3, [each for each in range(35) if each not in (3, 17, 33)])


def test_further_images_are_made_once_where_too_few_are_stable(network: Kinked) -> None:
    images = pictures(network, at_the_kink=[3, 17, 33])
    given, spare = images[:32], [images[32:]]

    found = parity.prove(Jumping(network), network, "features", given, LAYOUT, make_spare=spare.pop)

    assert spare == []
    assert found.parity.undecided == 3
    assert found.kept == [each for each in range(35) if each not in (3, 17, 33)]
    originals = parity.explain_reference(network, "features", given, LAYOUT)
    assert np.array_equal(found.originals.logits, originals.logits), "those of the images that were given"


def test_no_further_images_are_made_where_those_given_are_enough(network: Kinked) -> None:
    spare = [np.zeros((1, 3, SIDE, SIDE), np.float32)]

    parity.prove(Jumping(network), network, "features", pictures(network), LAYOUT, make_spare=spare.pop)

    assert len(spare) == 1


def test_no_image_is_set_aside_if_the_reference_is_stable(network: Kinked) -> None:
    assert prove(network, pictures(network)) == (32, 0, list(range(32)))


def test_a_wrong_gradient_fails_the_proof(network: Kinked) -> None:
    with pytest.raises(ParityError) as caught:
        prove(network, pictures(network), gradient=1.001)

    assert str(caught.value).endswith(f"so the compiled graphs compute it wrongly; choose another layer; {INSTEAD}")
    assert "allowed 1e-04; from float64 pytorch-grad-cam" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"gradient": 100.0}, {"logits": 0.01}])
def test_a_difference_larger_than_the_references_own_move_fails_the_proof(
    network: Kinked, wrong: dict[str, float]
) -> None:
    with pytest.raises(ParityError, match=r"the compiled explanation of 'features' differs"):
        prove(network, pictures(network, at_the_kink=range(COUNT)), **wrong)


def test_a_move_below_the_threshold_sets_no_image_aside(network: Kinked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "largest_moves", lambda _moved, images: np.full(len(images), 0.9e-4))
    with pytest.raises(ParityError, match="the compiled explanation of 'features' differs"):
        prove(network, pictures(network), gradient=1.00015)


def test_too_few_stable_images_fail_with_the_reason(network: Kinked) -> None:
    with pytest.raises(ParityError) as caught:
        # Not the first image: it is a batch of one, and what the reference computes beside a copy rounds otherwise.
        prove(network, pictures(network, at_the_kink=range(1, 11)))

    assert "own explanation of 'features' moves by up to" in str(caught.value)
    assert "on 10 of 40 inputs when these move by float32's rounding" in str(caught.value)

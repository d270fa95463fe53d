import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from heatlens.errors import ParityError
from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.proof import recipro_parity

LAYOUT = Layout(3, 4, 4)
IMAGES = np.random.default_rng(2).random((40, 3, 4, 4), dtype=np.float32)


class Network(nn.Module):
    """The image is the activation; its means, rounded to `levels`, are the logits."""

    def __init__(self, levels: int = 0) -> None:
        super().__init__()
        self.features, self.levels = nn.Identity(), levels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        means = self.features(image).mean(dim=(2, 3))
        return torch.round(means * self.levels) / self.levels if self.levels else means


class Runs:
    """An engine that computes as the network does; `moved` is added to each mean, `factor` multiplies the logits."""

    name, precision, device = "runs", "f32", "CPU"

    def __init__(self, network: Network, *, factor: float = 1, moved: float = 0) -> None:
        self.network, self.factor, self.moved = network, factor, moved

    def trunk(self, batch: Floats) -> tuple[Floats, ...]:
        return (batch,)

    def tail(
        self, crossing: Sequence[Floats], _selector: Floats, _owners: object = None
    ) -> tuple[Floats, Floats | None]:
        with torch.no_grad():
            logits = self.network(torch.from_numpy(crossing[0] + np.float32(self.moved)))
        return logits.numpy() * np.float32(self.factor), None


def prove(engine: Runs, images: Floats = IMAGES) -> tuple[int, int, float]:
    parity = recipro_parity.prove(engine, engine.network, "features", images, LAYOUT).parity
    return parity.inputs, parity.undecided, parity.largest


def test_equal_maps_are_proven_on_all_inputs() -> None:
    inputs, undecided, largest = prove(Runs(Network()))

    assert (inputs, undecided) == (32, 0)
    assert largest < 1e-6


@pytest.mark.parametrize("wrong", [{"factor": 1.001}, {"moved": 0.001}])
def test_another_map_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParityError, match="differs from Recipro-CAM by one masked run per cell in PyTorch"):
        prove(Runs(Network(), **wrong))


def test_a_wrong_number_is_refused_where_the_logits_are_rounded() -> None:
    with pytest.raises(ParityError, match="differs from"):
        prove(Runs(Network(levels=64), factor=1.01))


def test_an_image_at_a_step_is_set_aside() -> None:
    images = IMAGES.copy()
    images[5] = np.float32(0.5 / 64 + 20 / 64)  # every mean lies between two levels
    inputs, undecided, _ = prove(Runs(Network(levels=64), moved=3e-8), images)

    assert (inputs, undecided) == (32, 1)


def test_maps_without_evidence_prove_nothing() -> None:
    with pytest.raises(ParityError, match=re.escape("only 0 of 32 maps of 'features' have positive evidence")):
        prove(Runs(Network()), np.zeros_like(IMAGES))


def test_finer_grids_are_compared_on_fewer_inputs() -> None:
    sides = {7: 32, 14: 8, 40: 4}

    assert {side: recipro_parity.inputs_of(Layout(3, side, side)) for side in sides} == sides

"""Where two explanations differ, the one in float64 says whether rounding or the compiled graphs are the cause."""

import numpy as np
import pytest
import torch
from torch import nn

from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.proof import reference
from heatlens_torch.proof.in_float64 import cause

LAYOUT = Layout(4, 4, 4)
IMAGE: Floats = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)


class InSingle(nn.Module):
    """Works in float32 alone."""

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        return cells @ torch.eye(cells.shape[-1])


def network(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.Tanh())
    return nn.Sequential(body, *more, nn.Flatten(), nn.Linear(64, 3)).eval()


def values(built: nn.Module) -> list[Floats]:
    found = reference.explain(built, "0", torch.from_numpy(IMAGE), layout=LAYOUT)
    return [found.signed_map, found.gradient, found.logits]


def moved(explanation: list[Floats], by: float) -> list[Floats]:
    signed, *others = explanation
    return [signed + by * np.abs(signed).max(), *others]


def test_graphs_that_are_further_from_float64_than_the_original_are_wrong() -> None:
    built = network()
    theirs = values(built)

    said = cause(built, "0", LAYOUT, IMAGE, moved(theirs, 1e-2), theirs)

    assert said.endswith("the compiled one by 1.0e-02, so the compiled graphs compute it wrongly")
    assert not built.training


def test_an_original_that_is_as_far_from_float64_is_rounding() -> None:
    built = network()
    theirs = values(built)

    said = cause(built, "0", LAYOUT, IMAGE, moved(theirs, 2e-4), moved(theirs, -2e-4))

    assert (
        "'s own differs by 2.0e-04, the compiled one by 2.0e-04, so the network magnifies float32's rounding:" in said
    )


@pytest.mark.parametrize("affine", [True, False])
def test_a_batchnorm_that_magnifies_is_named(affine: bool) -> None:  # noqa: FBT001 - a parameter
    built = network(nn.BatchNorm2d(4, affine=affine, eps=0.0).eval())
    norm = built.get_submodule("1")
    norm.running_var = torch.tensor([1.0, 1e-4, 1.0, 1.0])
    theirs = values(built)

    said = cause(built, "0", LAYOUT, IMAGE, moved(theirs, 2e-4), moved(theirs, -2e-4))

    assert "rounding, and '1' multiplies by up to 100: untrained weights do" in said


def test_a_network_without_float64_says_nothing() -> None:
    built = network(InSingle())
    theirs = values(built)

    assert cause(built, "0", LAYOUT, IMAGE, moved(theirs, 1e-2), theirs) == ""

"""A gradient that lies at other cells of the same channels, behind an operator that sorts, is a choice among equals."""

import numpy as np
import pytest
import torch
from torch import nn

from heatlens.types import Floats
from heatlens_torch.proof.ties import cause

IMAGE: Floats = np.zeros((1, 3, 4, 4), np.float32)
THEIRS: Floats = np.array([[[1, 0], [0, 2]], [[0, 3], [0, 0]]], np.float32)
OTHER_CELLS: Floats = np.array([[[0, 1], [2, 0]], [[0, 3], [0, 0]]], np.float32)


class Largest(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(2).topk(2, dim=-1).values.mean(-1)


class Mean(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((2, 3))


def test_the_operator_is_named() -> None:
    assert cause(Largest(), IMAGE, OTHER_CELLS, THEIRS, allowed=1e-4).startswith("; operator topk chooses among equal")


@pytest.mark.parametrize(
    ("network", "ours"),
    [(Mean(), OTHER_CELLS), (Largest(), 1.1 * OTHER_CELLS), (Largest(), THEIRS)],
    ids=["nothing sorts", "other sums", "no difference"],
)
def test_other_differences_have_other_causes(network: nn.Module, ours: Floats) -> None:
    assert cause(network, IMAGE, ours, THEIRS, allowed=1e-4) == ""

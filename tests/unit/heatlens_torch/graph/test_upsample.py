"""A map is resized by matrices as torch resizes it."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from heatlens_torch.graph.cut import capture
from heatlens_torch.graph.upsample import OPERATORS

SETTINGS: list[dict[str, Any]] = [
    {"mode": "nearest", "scale_factor": 2},
    {"mode": "nearest", "scale_factor": (1.7, 2.4)},
    {"mode": "nearest", "size": (3, 11)},
    {"mode": "nearest-exact", "size": (13, 4)},
    {"mode": "bilinear", "size": (13, 9)},
    {"mode": "bilinear", "scale_factor": (2.5, 1.3), "recompute_scale_factor": True},
    {"mode": "bilinear", "size": (13, 9), "align_corners": True},
    {"mode": "bilinear", "size": (3, 3), "antialias": True},
    {"mode": "bicubic", "scale_factor": 3},
    {"mode": "bicubic", "size": (3, 3), "antialias": True},
    {"mode": "lanczos", "size": (3, 3), "antialias": True},
]


class Resized(nn.Module):
    """Resizes its input as `functional.interpolate` does, in each of these ways."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([functional.interpolate(image, **settings).flatten(1) for settings in SETTINGS], 1)


def test_matrices_resize_as_torch_does() -> None:
    image = torch.randn(4, 2, 6, 5, generator=torch.Generator().manual_seed(0))

    captured = capture(Resized(), image)

    operators = [str(node.target) for node in captured.graph.nodes if node.op == "call_function"]
    assert not [operator for operator in operators if "upsample" in operator]
    torch.testing.assert_close(captured(image), Resized()(image), rtol=1e-5, atol=1e-5)


def test_every_operator_that_resizes_is_rewritten() -> None:
    program = torch.export.export(Resized(), (torch.zeros(4, 2, 6, 5),)).run_decompositions({})

    assert {node.target for node in program.graph.nodes} >= OPERATORS

"""The layers of a described network are listed, those that the description names too."""

from pathlib import Path

import torch
from torch import nn

from heatlens_torch.inspection import inspect_model


def network() -> nn.Module:
    """Bring a network whose body ends in a module that returns its input."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU())
    return nn.Sequential(body, nn.Dropout2d(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def test_a_given_grid_on_a_module_that_returns_its_input_is_of_the_module_before(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(
        f'architecture = "{__name__}:network"\nclasses = ["a", "b"]\noutput = "softmax"\nlayer = "1"\ngrid = [4, 4]\n'
        "[preprocess]\nresize = [16, 16]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n"
    )

    found = inspect_model(tmp_path / "model.toml")

    assert [(layer.name, layer.shape) for layer in found.layers] == [("0.0", (4, 4, 4)), ("0", (4, 4, 4))]

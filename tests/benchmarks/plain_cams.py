"""Explain one image with a library from PyPI, as its users do: pytorch-grad-cam, torch-cam or Captum.

Each class is made of a network, the name of its layer and, for a transformer, the height and width of the token grid.
Called with a tensor `[1,3,H,W]` and a class, or `None` for the predicted one, it returns the logits `[K]` and the heat
`[h,w]` in 0 to 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

Result = tuple[torch.Tensor, np.ndarray[Any, Any]]
Cam = Callable[[torch.Tensor, int | None], Result]


class PytorchGradCam:
    """pytorch-grad-cam: hooks made once, one forward pass for the predicted class."""

    def __init__(self, network: nn.Module, layer: str, grid: tuple[int, int] | None) -> None:
        def to_grid(tokens: torch.Tensor) -> torch.Tensor:
            assert grid
            cells = tokens[:, -grid[0] * grid[1] :]
            return cells.transpose(1, 2).reshape(len(tokens), -1, *grid)

        self._cam = GradCAM(network, [network.get_submodule(layer)], reshape_transform=to_grid if grid else None)

    def __call__(self, tensor: torch.Tensor, index: int | None) -> Result:
        heat = self._cam(tensor, None if index is None else [ClassifierOutputTarget(index)])[0]
        return self._cam.outputs.detach()[0], heat


class TorchCam:
    """torch-cam: a forward pass, then a backward pass."""

    def __init__(self, network: nn.Module, layer: str, _grid: tuple[int, int] | None) -> None:
        from torchcam.methods import GradCAM as TorchGradCam

        self._network = network
        self._cam = TorchGradCam(network, target_layer=layer)

    def __call__(self, tensor: torch.Tensor, index: int | None) -> Result:
        scores = self._network(tensor.requires_grad_())
        [heat] = self._cam(int(scores[0].argmax()) if index is None else index, scores)
        return scores.detach()[0], heat[0].numpy()


class Captum:
    """Captum: a forward pass for the prediction; LayerGradCam then runs another, and its backward pass."""

    def __init__(self, network: nn.Module, layer: str, _grid: tuple[int, int] | None) -> None:
        from captum.attr import LayerGradCam

        self._network = network
        self._cam = LayerGradCam(network, network.get_submodule(layer))

    def __call__(self, tensor: torch.Tensor, index: int | None) -> Result:
        with torch.inference_mode():
            logits = self._network(tensor)[0]
        target = int(logits.argmax()) if index is None else index
        heat = self._cam.attribute(tensor, target=target, relu_attributions=True)[0, 0].detach().numpy()
        return logits, (heat - heat.min()) / max(float(np.ptp(heat)), 1e-7)  # as the other libraries do


CAMS: dict[str, Callable[[nn.Module, str, tuple[int, int] | None], Cam]] = {
    "pytorch-grad-cam": PytorchGradCam,
    "torch-cam": TorchCam,
    "Captum": Captum,
}

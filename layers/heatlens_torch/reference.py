"""pytorch-grad-cam as the referee: original network, layer and image batch [B,3,H,W] -> what it says of each image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget, ClassifierOutputTarget
from torch import nn

from heatlens.types import Floats
from heatlens_torch.grids import Layout
from heatlens_torch.probe import target

DISTRIBUTION = "grad-cam"


@dataclass(frozen=True, slots=True)
class Reference:
    """Of a batch: `logits` `[B,K]`, `gradient` `[B,C,h,w]`, `signed_map` `[B,h,w]` before ReLU, `heat` `[B,H,W]`.

    `heat` is pytorch-grad-cam's own answer: positive part, scaled and resized to the input, in 0..1.
    """

    logits: Floats
    gradient: Floats
    signed_map: Floats
    heat: Floats


def explain(
    network: nn.Module,
    layer: str,
    image: torch.Tensor,
    classes: list[int] | None = None,
    *,
    layout: Layout | None = None,
) -> Reference:
    """Explain each image with pytorch-grad-cam's own hooks, backward pass, weights and sum.

    Args:
        network: The original module, in evaluation mode.
        layer: Module path of the target.
        image: `[B,3,H,W]`.
        classes: A class per image; the predicted ones where `None`. For one logit 1 is the positive class, and 0 is
            explained by the negated logit.
        layout: Of the layer's output; `[B,C,h,w]` where `None`.
    """
    module = target(network, layer)
    with _grad_cam(network, [layer], [layout]) as cam:
        targets = _targets(network, image, classes)
        heat = cam(input_tensor=image, targets=targets)
        activation, gradient = _only(cam.activations_and_grads.activations), _only(cam.activations_and_grads.gradients)
        signed = cam.get_cam_image(image, module, targets, activation, gradient)
        logits = cam.outputs.detach().numpy()
    return Reference(logits, gradient, signed, heat)


def combined(network: nn.Module, layouts: Mapping[str, Layout], image: torch.Tensor) -> Floats:
    """The heat `[B,H,W]` of each image's predicted class that pytorch-grad-cam makes of several target layers.

    Args:
        network: The original module, in evaluation mode.
        layouts: Of each layer, by module path.
        image: `[B,3,H,W]`.
    """
    with _grad_cam(network, list(layouts), list(layouts.values())) as cam:
        heat: Floats = cam(input_tensor=image, targets=_targets(network, image, None))
    return heat


def name() -> str:
    """The referee and its release, for the card."""
    return f"pytorch-grad-cam {version(DISTRIBUTION)}"


@contextmanager
def _grad_cam(network: nn.Module, layers: Sequence[str], layouts: Sequence[Layout | None]) -> Iterator[Any]:
    """pytorch-grad-cam with the matching reshape of tokens to a grid, its hooks removed afterwards."""
    modules = [target(network, layer) for layer in layers]
    reshape = _reshape([layout for layout in layouts if layout and layout.tokens])
    with (
        _gradient_from(network, modules),
        GradCAM(model=network, target_layers=modules, reshape_transform=reshape) as cam,
    ):
        yield cam


def _reshape(layouts: Sequence[Layout]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """One function for all layers, as pytorch-grad-cam has it: told apart by the shape of what they answer."""

    def reshape(output: torch.Tensor) -> torch.Tensor:
        fitting = (layout for layout in layouts if layout.holds(output.shape[1:]))
        layout = next(fitting, None)
        return layout.grid(output) if layout else output

    return reshape if layouts else None


@contextmanager
def _gradient_from(network: nn.Module, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let the backward pass end at the layers: the gradient there is the same, and most of the work falls away."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(requires_grad=False)
    handles = [
        module.register_forward_hook(lambda _module, _input, output: output.requires_grad_()) for module in modules
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter in trainable:
            parameter.requires_grad_()


def _targets(network: nn.Module, image: torch.Tensor, classes: list[int] | None) -> list[object]:
    with torch.no_grad():
        logits = network(image)
    if logits.shape[1] == 1:
        chosen = (logits[:, 0] >= 0).int().tolist() if classes is None else classes
        return [BinaryClassifierOutputTarget(index) for index in chosen]
    chosen = logits.argmax(dim=1).tolist() if classes is None else classes
    return [ClassifierOutputTarget(index) for index in chosen]


def _only(tensors: list[torch.Tensor]) -> Floats:
    (tensor,) = tensors
    values: Floats = tensor.numpy()
    return values

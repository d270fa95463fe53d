"""pytorch-grad-cam as the referee: original network, layer and image batch [B,3,H,W] -> what it says of each image."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget, ClassifierOutputTarget
from torch import nn

from heatlens.types import Floats
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


def explain(network: nn.Module, layer: str, image: torch.Tensor, classes: list[int] | None = None) -> Reference:
    """Explain each image with pytorch-grad-cam's own hooks, backward pass, weights and sum.

    Args:
        network: The original module, in evaluation mode.
        layer: Module path of the target.
        image: `[B,3,H,W]`.
        classes: A class per image; the predicted ones where `None`. For one logit 1 is the positive class, and 0 is
            explained by the negated logit.
    """
    module = target(network, layer)
    targets = _targets(network, image, classes)
    with _gradient_from(network, module), GradCAM(model=network, target_layers=[module]) as cam:
        heat = cam(input_tensor=image, targets=targets)
        activation, gradient = _only(cam.activations_and_grads.activations), _only(cam.activations_and_grads.gradients)
        signed = cam.get_cam_image(image, module, targets, activation, gradient)
        logits = cam.outputs.detach().numpy()
    return Reference(logits, gradient, signed, heat)


def name() -> str:
    """The referee and its release, for the card."""
    return f"pytorch-grad-cam {version(DISTRIBUTION)}"


@contextmanager
def _gradient_from(network: nn.Module, module: nn.Module) -> Iterator[None]:
    """Let the backward pass end at the layer: the gradient there is the same, and most of the work falls away."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(requires_grad=False)
    handle = module.register_forward_hook(lambda _module, _input, output: output.requires_grad_())
    try:
        yield
    finally:
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

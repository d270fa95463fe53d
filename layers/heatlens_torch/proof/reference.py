"""Explain images with pytorch-grad-cam on the original network, as the reference."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pytorch_grad_cam
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget, ClassifierOutputTarget
from torch import nn

from heatlens.errors import EngineError
from heatlens.types import Floats
from heatlens_torch.graph.grids import Layout
from heatlens_torch.graph.probe import target
from heatlens_torch.graph.selector import explained_selector, predicted_classes
from heatlens_torch.proof.method_names import CLASSES, HEAT_ONLY

DISTRIBUTION = "grad-cam"
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Reference:
    """Of a batch: `logits` `[B,K]`, `gradient` `[B,C,h,w]`, `signed_map` `[B,h,w]` before ReLU, `heat` `[B,H,W]`.

    `heat` is pytorch-grad-cam's own result: the positive part, scaled and resized to the input, in 0..1.
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
        classes: A class per image, by default the predicted ones. For one logit 1 is the positive class, and 0 is
            explained by the negated logit.
        layout: Of the layer's output; by default `[B,C,h,w]`.

    A single image is explained beside a copy: torch 2.15 differentiates a BatchNorm in evaluation mode wrongly for a
    batch of one whose memory is ordered by pixel, as after `tokens.transpose(1, 2).view(1, C, h, w)` (CvT).
    """
    if len(image) == 1:
        both = explain(network, layer, image.repeat(2, 1, 1, 1), classes and classes * 2, layout=layout)
        return Reference(both.logits[:1], both.gradient[:1], both.signed_map[:1], both.heat[:1])
    module = target(network, layer)
    with _grad_cam(network, [layer], [layout]) as cam:
        targets = [_Target(None)] * len(image) if classes is None else [_Target(index) for index in classes]
        heat = cam(input_tensor=image, targets=targets)
        activation, gradient = _only(cam.activations_and_grads.activations), _only(cam.activations_and_grads.gradients)
        signed = cam.get_cam_image(image, module, targets, activation, gradient)
        logits = cam.outputs.detach().numpy()
    return Reference(logits, gradient, signed, heat)


def combined(network: nn.Module, layouts: Mapping[str, Layout], image: torch.Tensor) -> Floats:
    """Compute pytorch-grad-cam's heat `[B,H,W]` of each image's predicted class from several target layers.

    Args:
        network: The original module, in evaluation mode.
        layouts: Of each layer, by module path.
        image: `[B,3,H,W]`.
    """
    if len(image) == 1:  # see `explain`
        return combined(network, layouts, image.repeat(2, 1, 1, 1))[:1]
    with _grad_cam(network, list(layouts), list(layouts.values())) as cam:
        heat: Floats = cam(input_tensor=image, targets=[_Target(None)] * len(image))
    return heat


def any_map(
    network: nn.Module,
    layer: str,
    images: torch.Tensor,
    selector: torch.Tensor,
    method: str,
    *,
    layout: Layout | None = None,
    eigen_smooth: bool = False,
) -> Floats:
    """Explain images by any method of pytorch-grad-cam, run by pytorch-grad-cam itself.

    Args:
        network: In evaluation mode, on the images' device. Some methods exchange its layers while they work, and one
            shares state between callers, so only one call runs at a time.
        layer: Module path of the target. `fullgrad` ignores it.
        images: `[B,3,H,W]`, preprocessed.
        selector: `[B,K]`: the explained value is `sum(selector * logits)`; a row of zeros is the predicted class.
            `eigencam`, `kpcacam` and `fem` explain no class, and return the same map for every selector. `finercam`
            explains the class with the largest entry against the three that are most like it.
        method: A key of `CLASSES`. `randomcam` returns random maps.
        layout: Of the layer's output; by default `[B,C,h,w]`.
        eigen_smooth: pytorch-grad-cam's; methods without channel weights ignore it.

    Returns:
        Float32 `[B,h,w]` before ReLU, at the layer's own grid. For the methods in `HEAT_ONLY` instead `[B,H,W]` in 0..1
        at the images' size: pytorch-grad-cam has no other map of them.

    Raises:
        EngineError: There is no such method, or pytorch-grad-cam cannot explain this layer or output by it.
    """
    if method not in CLASSES:
        raise EngineError(f"pytorch-grad-cam has no method {method!r}: it has {', '.join(CLASSES)}")
    module = target(network, layer)
    with torch.no_grad():
        directions = explained_selector(selector, network(images))
    if method == "finercam" and directions.shape[1] == 1:
        raise EngineError("finercam explains a class against others, and this network has one logit")
    reshape = _reshape([layout] if layout and layout.tokens else [])
    with _ONE_AT_A_TIME, _gradient_from(network, [module]), _silent():
        try:
            return _made_by(method, network, module, images, directions, reshape, eigen_smooth=eigen_smooth)
        except Exception as error:  # it raises unrelated types for layers or outputs that it does not expect
            raise EngineError(f"pytorch-grad-cam cannot explain layer {layer!r} of this network by {method}") from error


def name() -> str:
    """Name pytorch-grad-cam and its release, for the card."""
    return f"pytorch-grad-cam {version(DISTRIBUTION)}"


@contextmanager
def _grad_cam(network: nn.Module, layers: Sequence[str], layouts: Sequence[Layout | None]) -> Iterator[Any]:
    """Open pytorch-grad-cam with the matching reshape of tokens to a grid, and remove its hooks afterwards."""
    modules = [target(network, layer) for layer in layers]
    reshape = _reshape([layout for layout in layouts if layout and layout.tokens])
    with (
        _gradient_from(network, modules),
        GradCAM(model=network, target_layers=modules, reshape_transform=reshape) as cam,
    ):
        yield cam


def _reshape(layouts: Sequence[Layout]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Make one reshape for all layers, as pytorch-grad-cam takes it; the output's shape tells the layers apart."""

    def reshape(output: torch.Tensor) -> torch.Tensor:
        fitting = (layout for layout in layouts if layout.holds(output.shape[1:]))
        layout = next(fitting, None)
        return layout.grid(output) if layout else output

    return reshape if layouts else None


@contextmanager
def _gradient_from(network: nn.Module, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let the backward pass end at the layers: the gradient there is the same, at a fraction of the work."""
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


class _Target:
    """The explained value of one image's logits `[K]`: pytorch-grad-cam's own target of a class, or the predicted one.

    It chooses when it is called, because only then does it see the logits: choosing before would run the network twice.
    """

    def __init__(self, index: int | None) -> None:
        self._index = index

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        index = predicted_classes(logits[None])[0] if self._index is None else self._index
        target_type = BinaryClassifierOutputTarget if len(logits) == 1 else ClassifierOutputTarget
        value: torch.Tensor = target_type(index)(logits)
        return value


def _only(tensors: list[torch.Tensor]) -> Floats:
    (tensor,) = tensors
    values: Floats = tensor.numpy()
    return values


class _Along:
    """The value that is explained: logits `[K]`, or `[N,K]` of several images, along one direction `[K]`."""

    def __init__(self, direction: torch.Tensor) -> None:
        self._direction = direction

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return (self._direction * logits).sum(dim=-1)


def _made_by(
    method: str,
    network: nn.Module,
    module: nn.Module,
    images: torch.Tensor,
    directions: torch.Tensor,
    reshape: Callable[[torch.Tensor], torch.Tensor] | None,
    *,
    eigen_smooth: bool,
) -> Floats:
    own = {"ablation_layer": AblationLayerVit() if reshape else AblationLayer()} if method == "ablationcam" else {}
    cam = getattr(pytorch_grad_cam, CLASSES[method])(network, [module], reshape_transform=reshape, **own)
    base = (getattr(cam, "base_cam_per_layer", None) or [getattr(cam, "base_cam", cam)])[0]
    maps = _recorded(base)
    try:
        if method == "finercam":
            heat = [
                cam(images[row : row + 1], target_idx=int(along.argmax()), eigen_smooth=eigen_smooth)
                for row, along in enumerate(directions)
            ]
        else:
            heat = [cam(images, targets=[_Along(along) for along in directions], eigen_smooth=eigen_smooth)]
    finally:
        base.activations_and_grads.release()
    found: Floats = np.concatenate(heat if method in HEAT_ONLY else maps).astype(np.float32, copy=False)
    return found


def _recorded(cam: Any) -> list[Floats]:  # noqa: ANN401 - pytorch-grad-cam is not typed
    """Record the maps that `cam` makes, before ReLU, scaling and resizing."""
    maps: list[Floats] = []
    make = cam.get_cam_image

    def noted(*arguments: Any, **options: Any) -> Floats:  # noqa: ANN401 - passes through
        maps.append(make(*arguments, **options))
        return maps[-1]

    cam.get_cam_image = noted
    return maps


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress progress bars and advice on the terminal."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield

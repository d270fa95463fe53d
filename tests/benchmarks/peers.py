"""Define the measured peers: functions of an image batch `[B,3,H,W]` and classes per image, called as users do."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heatlens.card import read_card
from heatlens.explain.attribution import MethodOptions, attribute
from heatlens.explain.targets import TargetRequest
from heatlens.model import load_model
from heatlens.types import Floats
from tests.benchmarks.subjects import SIDE, Subject

Explain = Callable[[Floats, Sequence[Sequence[int]]], object]


def heatlens(subject: Subject) -> Explain:
    """The compiled explanation."""
    model = load_model(subject.folder)

    def explain(images: Floats, classes: Sequence[Sequence[int]]) -> object:
        wanted = [TargetRequest(tuple((index,) for index in each)) for each in classes]
        return attribute(model.engine, model.card, images, wanted, MethodOptions())

    return explain


def compiled_forward(subject: Subject) -> Explain:
    """OpenVINO's own conversion of the whole network, in float32: logits and nothing else."""
    import openvino as ov

    torch = _torch()
    sample = torch.zeros(2, 3, SIDE, SIDE)
    exported = torch.export.export(seeded_network(subject), (sample,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    converted = ov.convert_model(exported)
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(converted, "CPU", hints).create_infer_request()
    return lambda images, _classes: request.infer([images], share_inputs=True)


def pytorch_forward(subject: Subject) -> Explain:
    """PyTorch's forward pass under `inference_mode`: logits and nothing else."""
    network, torch = seeded_network(subject), _torch()

    def forward(images: Floats, _classes: Sequence[Sequence[int]]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(images))

    return forward


def pytorch_grad_cam(subject: Subject) -> Explain:
    """pytorch-grad-cam: it explains one class of each image at a time."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from heatlens_torch.graph.probe import probe, target

    network, torch, layer = seeded_network(subject), _torch(), _layer(subject)
    layout = probe(network, layer, torch.zeros(2, 3, SIDE, SIDE)).layout
    cam = GradCAM(network, [target(network, layer)], reshape_transform=layout.grid if layout.tokens else None)

    def explain(images: Floats, classes: Sequence[Sequence[int]]) -> object:
        batch = torch.from_numpy(images)
        return [cam(batch, [ClassifierOutputTarget(index) for index in row]) for row in zip(*classes, strict=True)]

    return explain


def torch_cam(subject: Subject) -> Explain:
    """torch-cam: one forward pass, a backward pass for each class."""
    from torchcam.methods import GradCAM

    network, torch = seeded_network(subject), _torch()
    if _tokens(subject):
        raise NotImplementedError("torch-cam knows no token grid")
    extractor = GradCAM(network, target_layer=_layer(subject))

    def explain(images: Floats, classes: Sequence[Sequence[int]]) -> object:
        scores = network(torch.from_numpy(images).requires_grad_())
        rows = list(zip(*classes, strict=True))
        return [extractor(list(row), scores, retain_graph=row is not rows[-1]) for row in rows]

    return explain


def captum(subject: Subject) -> Explain:
    """Captum's LayerGradCam: forward and backward for each class; what it answers holds the graph until detached."""
    from captum.attr import LayerGradCam

    from heatlens_torch.graph.probe import target

    network, torch = seeded_network(subject), _torch()
    if _tokens(subject):
        raise NotImplementedError("Captum averages over tokens as it does over channels: no Grad-CAM")
    method = LayerGradCam(network, target(network, _layer(subject)))

    def explain(images: Floats, classes: Sequence[Sequence[int]]) -> object:
        batch = torch.from_numpy(images)
        return [method.attribute(batch, target=torch.tensor(row)).detach() for row in zip(*classes, strict=True)]

    return explain


PEERS: dict[str, Callable[[Subject], Explain]] = {
    "heatlens": heatlens,
    "compiled forward": compiled_forward,
    "PyTorch forward": pytorch_forward,
    "pytorch-grad-cam": pytorch_grad_cam,
    "torch-cam": torch_cam,
    "Captum": captum,
}


def seeded_network(subject: Subject) -> Any:  # noqa: ANN401 - a torch module, and torch is not imported for the others
    """Build the network of a subject as it was compiled."""
    return network_of(subject.description)


def network_of(description: Path) -> Any:  # noqa: ANN401
    """Build the network that a `model.toml` describes."""
    from heatlens_torch.loading.network import build_network
    from heatlens_torch.loading.spec import read_spec

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_network(read_spec(description), description.parent).network


def _torch() -> Any:  # noqa: ANN401
    import torch

    return torch


def _layer(subject: Subject) -> str:
    return read_card(subject.folder)[0].layers[0].name


def _tokens(subject: Subject) -> bool:
    return read_card(subject.folder)[0].layers[0].tokens is not None

"""Explain images with pytorch-grad-cam where the network cannot be compiled."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from heatlens.errors import CompileError, ModelFileError
from heatlens_torch.graph.layers import default_layer
from heatlens_torch.graph.probe import probe
from heatlens_torch.loading import user_functions
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.network import build_network, stack
from heatlens_torch.proof import reference
from heatlens_torch.proof.reference import Reference


def explain(
    what: str | Path, images: Sequence[Image.Image], *, layer: str | None = None, classes: list[int] | None = None
) -> Reference:
    """Explain images with PyTorch and pytorch-grad-cam on the CPU; nothing is compiled or proven.

    Args:
        what: What `compile` refused: a `model.toml`, the paths in which are relative to its folder, or a source.
        images: `N` images of any size; the description's `[preprocess]` is applied.
        layer: Module path; by default the description's (first) layer, else the compiler's choice.
        classes: A class per image, by default the predicted ones. For one logit 1 is the positive class.

    Returns:
        Of `N` images `logits` `[N,K]`, `gradient` `[N,C,h,w]`, `signed_map` `[N,h,w]` and `heat` `[N,H,W]` in 0..1.

    Raises:
        ModelFileError: The description, its weights or functions cannot be used, there are no images, or the network
            has no such class.
        CompileError: pytorch-grad-cam cannot explain the layer.
    """
    described = describe(what)
    spec = described.spec
    if not spec.gradients:
        raise CompileError("gradients: pytorch-grad-cam cannot explain a network without gradients: compile it")
    if not images:
        raise ModelFileError("images: there is no image to explain: give at least one")
    with user_functions.importable(described.home):
        with described.located():
            network = build_network(spec, described.home).network
        name = (
            layer
            or next(iter(spec.layers), None)
            or default_layer(network, spec.preprocess.shape, channels=spec.preprocess.channels)
        )
        batch = torch.from_numpy(stack(list(images), spec.preprocess))
        # Two images: a batch of one would hide which dimension is the batch.
        seen = probe(network, name, batch[[0, -1]], grid=spec.grid_of(name), class_tokens=spec.class_tokens)
        if classes is not None:
            _check_classes(classes, len(batch), max(2, seen.logits))
        return reference.explain(network, name, batch, classes, layout=seen.layout)


def _check_classes(classes: list[int], images: int, count: int) -> None:
    if len(classes) != images:
        raise ModelFileError(f"classes: {len(classes)} for {images} images: give one for each")
    for index in classes:
        if not 0 <= index < count:
            raise ModelFileError(f"classes: the network has no class {index}: it has 0 to {count - 1}")

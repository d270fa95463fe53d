"""Build the network that a description describes, and the images to prove it on."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens.input.decode import decode
from heatlens.input.pillow_image import image_file
from heatlens.input.preprocess import Picture, preprocess
from heatlens.types import Floats
from heatlens_torch.batch_size import divide
from heatlens_torch.errors import running
from heatlens_torch.loading import own_weights, synthetic, user_functions, zoo
from heatlens_torch.loading.built_network import BuiltNetwork
from heatlens_torch.loading.checkpoints import Checkpoint, load_weights, read_checkpoint
from heatlens_torch.loading.final_activation import remove_final_activation
from heatlens_torch.loading.first_outputs import name_first_outputs
from heatlens_torch.loading.in_place import allow_in_place
from heatlens_torch.loading.inputs import place_image
from heatlens_torch.loading.outputs import select_output
from heatlens_torch.loading.plain_network import cast_name, make_float32
from heatlens_torch.loading.single_images import check_single_images
from heatlens_torch.loading.sources import registry
from heatlens_torch.loading.spec import PROOF_INPUTS, ModelSpec

SETTLING_IMAGES, SETTLING_BATCHES = 32, 2
SETTLING_SEED, PROOF_SEED, OTHER_SEED = 1, 2, 3


def build_network(spec: ModelSpec, folder: Path) -> BuiltNetwork:
    """Build the network with its weights, so that it returns its logits alone.

    Args:
        spec: The model description.
        folder: Where the description lies.

    Returns:
        The network; its source names the architecture, the weights, their sha256, and which parts of a checkpoint were
        used or dropped, and what was changed: weights cast to float32, a softmax or sigmoid removed.

    Raises:
        ModelFileError: The architecture or the weights cannot be used.
        CompileError: The network does not run on images of the description's size, or its answer to one image
            depends on the others.
    """
    built = _build(spec, folder)
    cast = make_float32(built.network) or built.source.get("cast", "")
    image = torch.zeros(2, spec.preprocess.channels, *spec.preprocess.shape)
    if built.original is None:  # an ONNX file has its constants already
        place_image(built.network, spec.input_entry, spec.constants)
    select_output(built.network, spec.output_entry, image)
    name_first_outputs(built.network, image)
    check_single_images(built.network, image)
    removed = remove_final_activation(built.network, image)
    allow_in_place(built.network, image)
    constants = ", ".join(f"{key} = {value}" for key, value in spec.constants.items())
    changes = {"constants": constants, "cast": cast, "removed": f"{removed} at the end" if removed else ""}
    return replace(built, source=built.source | {key: value for key, value in changes.items() if value})


def images_of(spec: ModelSpec) -> Floats:
    """Make the images to prove on and calibrate with, `[N,3,H,W]`, preprocessed.

    They are 64, or as many as the description asks for, from the `inputs` function, else 32 synthetic ones.

    Raises:
        ModelFileError: The function fails, or returns fewer images than the proof needs.
    """
    if spec.inputs is None:
        return _synthetic(spec, PROOF_INPUTS, seed=PROOF_SEED)
    images = user_functions.call("inputs", spec.inputs, spec.calibration_images)
    if not isinstance(images, list) or not all(isinstance(image, Image.Image) for image in images):
        raise ModelFileError(f"inputs: {spec.inputs!r} did not return a list of PIL images")
    if len(images) < PROOF_INPUTS:
        raise ModelFileError(f"inputs: {spec.inputs!r} returned {len(images)} images, the proof needs {PROOF_INPUTS}")
    return stack(images[: spec.calibration_images], spec.preprocess)


def sample_images(spec: ModelSpec) -> Floats:
    """Make two synthetic images to run the network with, `[2,3,H,W]`, preprocessed."""
    return _synthetic(spec, 2, seed=PROOF_SEED)


def other_images(spec: ModelSpec) -> Floats:
    """Make as many other synthetic images as the proof has, `[N,3,H,W]`, preprocessed."""
    return _synthetic(spec, PROOF_INPUTS, seed=OTHER_SEED)


def spare_images(spec: ModelSpec) -> Floats:
    """Make as many further synthetic images, to replace those on which nothing can be proven.

    There are none where the description has a function for its images.
    """
    return _synthetic(spec, 0 if spec.inputs else PROOF_INPUTS, seed=PROOF_SEED, start=PROOF_INPUTS)


def stack(images: list[Image.Image], recipe: Preprocess) -> Floats:
    """Preprocess images of any size and mode into one batch `[N,3,H,W]`."""
    batch = np.empty((len(images), recipe.channels, *recipe.shape), np.float32)
    for place, image in zip(batch, images, strict=True):
        place[:] = preprocess(_decoded(image, recipe), recipe)
    return batch


def _decoded(image: Image.Image, recipe: Preprocess) -> Picture:
    if image.mode in ("L", "RGB"):
        return image
    pixels = image.width * image.height
    found = decode(image_file(image), max_pixels=pixels, window=recipe.window, values=recipe.values)
    return found.image if found.values is None else found.values


# ------------------------------------------------------------------------------------------------------------- sources


def _build(spec: ModelSpec, folder: Path) -> BuiltNetwork:
    if spec.seed is not None:
        arguments = _arguments(spec, None)
        return BuiltNetwork(_seeded(spec, spec.seed, arguments), arguments, _source(spec, f"seed:{spec.seed}"))
    if registry.split(spec.architecture) and spec.brings_weights:
        built = registry.build(spec.architecture, folder, dict(spec))
        return replace(built, source=_source(spec, spec.weights) | built.source)
    if spec.brings_weights:
        return _with_its_own(spec)
    return _from_checkpoint(spec, folder / spec.weights)


def _with_its_own(spec: ModelSpec) -> BuiltNetwork:
    """Call a factory that loads its weights itself, and leave what it returns as it is."""
    arguments = _arguments(spec, None)
    network = own_weights.build(spec.architecture, arguments)
    return BuiltNetwork(network, arguments, _source(spec, spec.weights))


def _from_checkpoint(spec: ModelSpec, path: Path) -> BuiltNetwork:
    checkpoint = read_checkpoint(path, entry=spec.weights_entry, sha256=spec.sha256)
    arguments = _arguments(spec, checkpoint)
    with _hint_at_hyper_parameters(spec, checkpoint):
        network = zoo.build(spec.architecture, arguments)
        make_float32(network)  # before it takes weights that may be more precise
        prefix = load_weights(network, checkpoint, name=path.name, prefix=spec.weights_prefix)
    found = {
        "weights_sha256": checkpoint.sha256,
        "weights_entry": checkpoint.entry,
        "weights_prefix": prefix,
        "dropped": ", ".join(checkpoint.dropped),
        "cast": cast_name({value.dtype for value in checkpoint.state.values()}),
    }
    return BuiltNetwork(
        network, arguments, _source(spec, path.name) | {key: value for key, value in found.items() if value}
    )


def _source(spec: ModelSpec, weights: str) -> dict[str, str]:
    return {"architecture": spec.architecture, "weights": weights}


def _arguments(spec: ModelSpec, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Return the factory's arguments; for `hyper_parameters` those of the checkpoint that the factory takes."""
    if isinstance(spec.arguments, dict):
        return spec.arguments
    if checkpoint is None or not checkpoint.hyper_parameters:
        raise ModelFileError(f"arguments: {spec.weights} has no hyper_parameters with plain values")
    takes = _parameters(spec.architecture)
    return {key: value for key, value in checkpoint.hyper_parameters.items() if takes is None or key in takes}


def _parameters(architecture: str) -> set[str] | None:
    """List the names that a factory takes, `None` if it takes any."""
    parameters = inspect.signature(_factory(architecture)).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return None
    return {each.name for each in parameters if each.kind is not inspect.Parameter.POSITIONAL_ONLY}


def _factory(architecture: str) -> Callable[..., Any]:
    scheme = architecture.partition(":")[0]
    if architecture in zoo.NAMED:
        return zoo.NAMED[architecture]
    if scheme == zoo.TORCHVISION:
        network: type[nn.Module] = type(zoo.build(architecture, {}))
        return network
    return user_functions.find("architecture", architecture)


@contextmanager
def _hint_at_hyper_parameters(spec: ModelSpec, checkpoint: Checkpoint) -> Iterator[None]:
    """Mention the checkpoint's hyper-parameters if the network cannot be built or filled without them."""
    try:
        yield
    except ModelFileError as error:
        if (
            spec.arguments
            or not checkpoint.hyper_parameters
            or not str(error).startswith(("weights: ", "architecture: "))
        ):
            raise
        known = ", ".join(f"{key} = {value!r}" for key, value in sorted(checkpoint.hyper_parameters.items())[:5])
        raise ModelFileError(
            f'{error} (the checkpoint has hyper-parameters, {known}: arguments = "hyper_parameters" takes those that '
            "the factory has)"
        ) from error


def _seeded(spec: ModelSpec, seed: int, arguments: dict[str, Any]) -> nn.Module:
    network = own_weights.build_untrained(spec.architecture, arguments, seed)
    images = _synthetic(spec, SETTLING_IMAGES, seed=SETTLING_SEED)
    batches = [torch.from_numpy(batch) for batch in divide(images, SETTLING_IMAGES // SETTLING_BATCHES)]
    with running(batches[0].shape):
        synthetic.settle(network, batches)
    return network


def _synthetic(spec: ModelSpec, count: int, *, seed: int, start: int = 0) -> Floats:
    height, width = spec.preprocess.shape
    return stack(synthetic.images(count, size=(width, height), seed=seed, start=start), spec.preprocess)

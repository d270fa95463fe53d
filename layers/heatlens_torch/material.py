"""What a compilation starts from: spec -> the network with its weights, and the images to prove it on."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens.preprocess import preprocess
from heatlens.types import Floats
from heatlens_torch import hooks, parity, synthetic, zoo
from heatlens_torch.checkpoints import load_weights
from heatlens_torch.spec import ModelSpec

CALIBRATION_IMAGES = 64
SETTLING_IMAGES, SETTLING_BATCHES = 32, 2
SETTLING_SEED, PROOF_SEED = 1, 2


def network_of(spec: ModelSpec, folder: Path) -> tuple[nn.Module, dict[str, str]]:
    """Build the network in evaluation mode, with its weights.

    Args:
        spec: The model description.
        folder: Where the description lies.

    Returns:
        The network, and where it came from: architecture, weights, and the weights file's sha256.

    Raises:
        ModelFileError: The architecture or the weights cannot be used.
    """
    source = {"architecture": spec.architecture, "weights": spec.weights}
    if spec.seed is not None:
        return _seeded(spec, spec.seed), source
    network = zoo.build(spec.architecture, spec.arguments)
    path = folder / spec.weights
    digest = load_weights(network, path)
    return network, source | {"weights": path.name, "weights_sha256": digest}


def images_of(spec: ModelSpec) -> Floats:
    """The images to prove on, `[N,3,H,W]`, preprocessed: 64 from the `inputs` function, else 32 synthetic ones.

    Raises:
        ModelFileError: The function fails, or returns fewer images than the proof needs.
    """
    if spec.inputs is None:
        return _synthetic(spec, parity.INPUTS, seed=PROOF_SEED)
    images = hooks.call("inputs", spec.inputs, CALIBRATION_IMAGES)
    if not isinstance(images, list) or not all(isinstance(image, Image.Image) for image in images):
        raise ModelFileError(f"inputs: {spec.inputs!r} did not return a list of PIL images")
    if len(images) < parity.INPUTS:
        raise ModelFileError(f"inputs: {spec.inputs!r} returned {len(images)} images, the proof needs {parity.INPUTS}")
    return stack(images[:CALIBRATION_IMAGES], spec.preprocess)


def stack(images: list[Image.Image], recipe: Preprocess) -> Floats:
    """Preprocess images of any size and mode into one batch `[N,3,H,W]`."""
    modes = (image if image.mode in ("L", "RGB") else image.convert("RGB") for image in images)
    return np.stack([preprocess(image, recipe) for image in modes])


def _seeded(spec: ModelSpec, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = zoo.build(spec.architecture, spec.arguments)
    images = torch.from_numpy(_synthetic(spec, SETTLING_IMAGES, seed=SETTLING_SEED))
    synthetic.settle(network, list(images.chunk(SETTLING_BATCHES)))
    return network


def _synthetic(spec: ModelSpec, count: int, *, seed: int) -> Floats:
    height, width = spec.preprocess.shape
    return stack(synthetic.images(count, size=(width, height), seed=seed), spec.preprocess)

"""`xrv:FILE`: a classifier of torchxrayvision, from its state dict.

Inside its `forward` the library resizes, applies a sigmoid and scales by operating points. Here the network ends with
its logits, one for each pathology that the weights were trained for: maps explain logits.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens_torch.loading.foreign import instead_of_pickle
from heatlens_torch.loading.sources.base import OWN, Facts

if TYPE_CHECKING:
    from torch import nn

    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.checkpoints import Checkpoint

LABELS = "pathologies"
PIXELS = 224
# The library's read_xray_dcm or normalize, then XRayCenterCrop and XRayResizer. It reads DICOM's stored values.
STEPS = (
    {
        **{"step": "values", "low": -1024, "high": 1024, "of": "stored"},
        **{"monochrome1": "bits", "scale": "bits", "eight_bits": "map"},
    },
    {"step": "crop", "size": "square", "rounding": "halves"},
    {"step": "resize", "size": PIXELS, "library": "scikit-image", "border": 0},
    {"step": "gray", "weights": [1 / 3, 1 / 3, 1 / 3]},
)


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Read the pathologies beside the state dict, without the empty ones; else the library's default list."""
    path = home / reference
    _, labels = _read(path, given)
    found = Facts()
    found.add("weights", OWN, path.name)
    found.add("classes", [label for label in labels if label], f"{path.name} {LABELS}, without the empty ones")
    found.add("output", "multilabel", "torchxrayvision: each pathology for itself")
    found.add("layer", "features", "the last dense block with its activation")
    if "preprocess" not in given:
        recipe = Preprocess.model_validate({"steps": STEPS})
        found.add("preprocess", recipe, "torchxrayvision's normalize and transforms")
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
    """Build the DenseNet of the library with one channel, and keep the logits of the labels that are not empty."""
    import torchxrayvision
    from torch import nn

    from heatlens_torch.loading import zoo
    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.checkpoints import Checkpoint, load_weights

    path = home / reference
    checkpoint, labels = _read(path, given)
    state = {key: value for key, value in checkpoint.state.items() if not key.endswith("op_threshs")}
    network = torchxrayvision.models.DenseNet(num_classes=len(labels))
    load_weights(network, Checkpoint(state, checkpoint.sha256), name=path.name)
    kept = [index for index, label in enumerate(labels) if label]
    head: nn.Linear = network.classifier
    network.classifier = _rows(head, kept)
    return BuiltNetwork(zoo.densenet(network).eval(), {}, {"weights": path.name, "weights_sha256": checkpoint.sha256})


def _rows(head: "nn.Linear", kept: Sequence[int]) -> "nn.Linear":
    import torch
    from torch import nn

    part = nn.Linear(head.in_features, len(kept))
    with torch.no_grad():
        part.weight.copy_(head.weight[list(kept)])
        part.bias.copy_(head.bias[list(kept)])
    return part


def _read(path: Path, given: Mapping[str, Any]) -> "tuple[Checkpoint, list[str]]":
    """Read the state dict and one label for each of its logits."""
    from heatlens_torch.loading.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(path, sha256=given.get("sha256"))
    logits = next((len(value) for key, value in checkpoint.state.items() if key.endswith("classifier.bias")), None)
    if logits is None:
        raise ModelFileError(
            f"weights: {path.name} is no DenseNet of torchxrayvision (no classifier.bias): "
            f"{instead_of_pickle('torchxrayvision', path.name)}"
        )
    labels = checkpoint.lists.get(LABELS)
    if labels is None:
        import torchxrayvision

        labels = torchxrayvision.datasets.default_pathologies
    if len(labels) != logits:
        raise ModelFileError(
            f"classes: {path.name} has {logits} logits and {len(labels)} {LABELS}: "
            f"{instead_of_pickle('torchxrayvision', path.name)}"
        )
    return checkpoint, list(labels)

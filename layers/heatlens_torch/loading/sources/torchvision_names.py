"""`torchvision:NAME`: torchvision's own weights bring classes, output and preprocessing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heatlens_torch.loading import exported_program, torchvision_weights, zoo
from heatlens_torch.loading.built_network import BuiltNetwork
from heatlens_torch.loading.checkpoints import check_digest
from heatlens_torch.loading.sources.base import Facts, number_of_logits

NEWEST = "DEFAULT"
_CHANGED_WITH_WEIGHTS = ("transform_input", "aux_logits")  # of GoogLeNet and Inception: what torchvision built, in full


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Take torchvision's newest weights where none are given, and read the metadata of its own."""
    found = Facts()
    weights = given.get("weights")
    if weights is None:
        weights = NEWEST
        found.add("weights", weights, "torchvision's newest")
    if str(weights).isidentifier():
        for key, value in torchvision_weights.facts(reference, weights).items():
            found.add(key, value, f"metadata of torchvision's weights {weights}")
    elif given.get("classes") and not str(weights).startswith("seed:") and not given.get("arguments"):
        found.add("arguments", {"num_classes": number_of_logits(given)}, "the number of classes")
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> BuiltNetwork:
    """Let torchvision build the network: with its own weights it changes more than those, such as Inception's input."""
    member, path = torchvision_weights.fetch(reference, given["weights"])
    digest = check_digest(path, given.get("sha256"))
    arguments = given["arguments"]
    with exported_program.tensors_only():
        network = zoo.build(given["architecture"], arguments | {"weights": member})
    own = {key: getattr(network, key) for key in _CHANGED_WITH_WEIGHTS if hasattr(network, key)}
    return BuiltNetwork(network, arguments | own, {"weights": member.name, "weights_sha256": digest})

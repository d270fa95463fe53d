"""`torch.export:FILE`: a program with its weights; it says nothing of classes or preprocessing."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heatlens.errors import ModelFileError
from heatlens_torch.loading.sources.base import OWN, Facts

if TYPE_CHECKING:
    from heatlens_torch.loading.built_network import BuiltNetwork


def facts(reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
    """Name the model after its file."""
    if given.get("weights") not in (None, OWN):
        raise ModelFileError("weights: a torch.export file brings its own, so there is nothing to load")
    if given.get("arguments"):
        raise ModelFileError("arguments: a torch.export file takes none")
    found = Facts()
    found.add("name", Path(reference).stem, "its file's name")
    found.add("weights", OWN, "the program brings them")
    return found


def build(reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
    """Take the program apart into its modules."""
    from heatlens_torch.loading.built_network import BuiltNetwork
    from heatlens_torch.loading.checkpoints import check_digest
    from heatlens_torch.loading.exported_program import load_program

    path = home / reference
    network = load_program(path)
    digest = check_digest(path, given.get("sha256"))
    return BuiltNetwork(network, {}, {"weights": path.name, "weights_sha256": digest})

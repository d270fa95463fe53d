"""What a source finds in the owner's files, and what it must offer."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from heatlens.errors import ModelFileError

if TYPE_CHECKING:  # facts are read before torch is loaded
    from heatlens_torch.loading.built_network import BuiltNetwork

IMAGENET_CLASSES = 1000
OWN = "own"  # as `weights`: the architecture brings them


@dataclass(slots=True)
class Facts:
    """Values of a description by key, and where each was found; `notes` say what an owner should know besides.

    `hints` say of a key that is missing what the files know of it.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, value: object, place: str) -> None:
        """Keep a value that was found; `None` was not found."""
        if value is not None:
            self.values[key] = value
            self.places[key] = place

    def keep(self, keys: Set[str]) -> None:
        """Forget what is not among the keys."""
        self.values = {key: value for key, value in self.values.items() if key in keys}
        self.places = {key: place for key, place in self.places.items() if key in keys}


class Source(Protocol):
    """A kind of model that people have. Each module of this package is one."""

    def facts(self, reference: str, home: Path, given: Mapping[str, Any]) -> Facts:
        """Read the owner's files without running anything in them, and without torch where that is possible.

        Args:
            reference: What follows the scheme: a path or a name.
            home: What paths are relative to.
            given: What the owner says, by the keys of a description.

        Raises:
            ModelFileError: They are missing, unreadable or of another kind.
        """

    def build(self, reference: str, home: Path, given: Mapping[str, Any]) -> "BuiltNetwork":
        """Build the network with the weights that the source brings.

        Raises:
            ModelFileError: Weights and network do not fit, or cannot be read.
        """


def number_of_logits(given: Mapping[str, Any]) -> int:
    """Count the logits that classes and output of a description need."""
    if given.get("output") == "sigmoid":
        return 1
    return IMAGENET_CLASSES if given["classes"] == "imagenet" else len(given["classes"])


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelFileError: The file is missing, or is no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"architecture: {path.parent.name}/{path.name}: no such readable file") from error
    except ValueError as error:
        raise ModelFileError(f"architecture: {path.parent.name}/{path.name} is not JSON") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"architecture: {path.parent.name}/{path.name} is not a JSON object")
    return content


def weights_file(folder: Path, names: Sequence[str], writer: str = "") -> str:
    """Return the first of the names that the folder has.

    Raises:
        ModelFileError: It has none; the message says that `writer` writes one.
    """
    for name in names:
        if (folder / name).is_file():
            return name
    raise ModelFileError(f"weights: {folder.name} has none of {', '.join(names)}{writer and f': {writer} writes one'}")

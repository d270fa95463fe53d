"""What a command has of one explained file: its class, its pictures, and what to know of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heatlens.types import SUFFIXES, Quality

PICTURE = SUFFIXES["png"]
MAPS: dict[Quality, str] = {
    "weak": "weak map, with little evidence for the class",
    "empty": "empty map, with no evidence for the class",
}


@dataclass(frozen=True, slots=True)
class ClassHeatmap:
    """One explained target: its label, the indices of its classes, its probability, and its files by their suffix."""

    label: str
    indices: tuple[int, ...]
    probability: float
    quality: Quality
    files: Mapping[str, bytes]

    @property
    def picture(self) -> bytes | None:
        """The overlay, if it is among the files."""
        return next((self.files[suffix] for suffix in SUFFIXES.values() if suffix in self.files), None)


@dataclass(frozen=True, slots=True)
class FileExplanation:
    """The predicted class of one image, its probability, a heatmap for each explained class, and what to know of them.

    The notes say what was assumed to read the file, the warnings why class or map may mean nothing. `facts` are all
    values as JSON, where the command has them.
    """

    label: str
    probability: float
    heatmaps: tuple[ClassHeatmap, ...]
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def warnings_of(qualities: Mapping[str, Quality], *, unfamiliar: bool) -> list[str]:
    """Say why the class of an image or its maps may mean nothing.

    Args:
        qualities: Of the map of each explained class, by its label.
        unfamiliar: Whether the model was calibrated on other images.
    """
    unlike = ["unfamiliar: unlike the images that the model was calibrated on; rely on neither class nor heatmap"]
    maps = [f"{label}: {MAPS[own]}" for label, own in qualities.items() if own in MAPS]
    return [*unlike, *maps] if unfamiliar else maps

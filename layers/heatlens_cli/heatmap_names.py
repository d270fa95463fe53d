"""Name the files of a run: each has the place of its image, and a suffix."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

LABEL_LETTERS = 24  # of a class label that a file name has


def unique_images(images: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split images into the first naming of each file and the repetitions."""
    first: dict[tuple[str, str], Path] = {}
    repeated: list[Path] = []
    for image in images:
        if (place := _place(image)) in first:
            repeated.append(image)
        else:
            first[place] = image
    return list(first.values()), repeated


def heatmap_name(image: Path, suffix: str, *, indices: Sequence[int] = (), label: str = "") -> Path:
    """Name a heatmap: `scan.jpg.heatmap.png`, and with the index of a class `scan.jpg.1-OPACITY.heatmap.png`.

    The full name of the image and the indices, of a group `0+2`, make it unique; the label is there to be read.
    """
    readable = re.sub(r"[^\w-]+", "_", label)[:LABEL_LETTERS]
    named = f".{'+'.join(map(str, indices))}-{readable}" if indices else ""
    return image.parent / f"{image.name}{named}.heatmap{suffix}"


def _place(image: Path) -> tuple[str, str]:
    return os.path.realpath(image.parent), image.name

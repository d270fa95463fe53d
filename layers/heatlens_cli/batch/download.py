"""Which files a batch writes of each image, and the removal of those that an earlier run wrote."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from heatlens.types import SUFFIXES
from heatlens_cli.batch.client import INCLUDED

# What the API links for each value of `include`, and the suffix of its file, which ends with the picture's own.
_KINDS = {"overlay": "overlay", "heatmap": "map_image", "map": "map", "regions": "result", "faithfulness": "result"}


def wanted_kinds(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is downloaded of each image, in the API's words for its links."""
    dicom = ["dicom"] if options.get("dicom") else []
    return tuple(dict.fromkeys([*(_KINDS[name] for name in _included(options)), *dicom]))


def written_suffixes(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the suffixes of the files that are written of each image, such as `.heatmap.png`."""
    picture = SUFFIXES.get(options.get("format", "png"), ".png")
    suffixes = {"overlay": picture, "map_image": f".map{picture}", "map": ".npy", "result": ".json"}
    written = [suffixes[kind] for kind in wanted_kinds(options) if kind in suffixes]
    return tuple(f".heatmap{suffix}" for suffix in [*written, *(f".{kind}.dcm" for kind in options.get("dicom", ()))])


def remove_results(folder: Path, name: str, suffixes: Iterable[str]) -> None:
    """Remove what an earlier run wrote of a file that has no result now."""
    for suffix in suffixes:
        with contextlib.suppress(OSError):
            (folder / f"{name}{suffix}").unlink()


def _included(options: Mapping[str, Any]) -> list[str]:
    include = options.get("include", INCLUDED)
    return include.split(",") if isinstance(include, str) else list(include)

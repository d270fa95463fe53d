"""Write the sample images of the web page: phantoms in several file formats."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from heatlens_torch.demo.phantoms import SAMPLE_SEEDS, phantom, to_pil

NOTICE = "Computed chest phantoms, not images of people. Not for medical use."

THUMBNAIL = 192  # pixels of the longer side, shown at half of it
_LABELS = ("CLEAR", "OPACITY")


@dataclass(frozen=True)
class Sample:
    """One file to write: the phantom's seed, side in pixels and label, bits per gray value, black bars on two sides."""

    file: str
    name: str
    seed: int
    opacity: bool = True
    size: int = 1024
    bits: Literal[8, 16] = 8
    bar: int = 0


SAMPLES = (
    Sample("phantom-01-opacity.png", "Chest phantom with an opacity", SAMPLE_SEEDS[12]),
    Sample("phantom-02-opacity-16bit.png", "Opacity, 16-bit PNG", SAMPLE_SEEDS[16], bits=16),
    Sample("phantom-03-opacity.jpg", "Opacity, JPEG", SAMPLE_SEEDS[15]),
    Sample("phantom-04-clear.png", "Without an opacity", SAMPLE_SEEDS[13], opacity=False),
    Sample("phantom-05-opacity-wide.png", "Opacity, wide image", SAMPLE_SEEDS[22], size=768, bar=128),
)


def write_samples(folder: Path) -> list[dict[str, Any]]:
    """Write every sample and samples.json, which lists the truth about each.

    Args:
        folder: made where missing. Thumbnails for the page go into `thumbnails` beside it.

    Returns:
        The list in samples.json: file, name, thumbnail, label, seed, size [width, height] and box
        [left, top, right, bottom] of the opacity in pixels (right and bottom just outside; None where clear).
    """
    folder.mkdir(parents=True, exist_ok=True)
    _thumbnails(folder).mkdir(exist_ok=True)
    listed = [_write(sample, folder) for sample in SAMPLES]
    listing = json.dumps({"notice": NOTICE, "samples": listed}, indent=2)
    (folder / "samples.json").write_text(listing + "\n", "utf-8")
    return listed


def _write(sample: Sample, folder: Path) -> dict[str, Any]:
    drawn = phantom(sample.seed, size=sample.size, opacity=sample.opacity)
    image = to_pil(drawn, sample.bits)
    if sample.bar:
        image = ImageOps.expand(image, (sample.bar, 0, sample.bar, 0))
    image.save(folder / sample.file, quality=90, optimize=True)
    small = ImageOps.contain(to_pil(drawn, 8), (THUMBNAIL, THUMBNAIL))
    thumbnail = _thumbnails(folder) / f"{Path(sample.file).stem}.jpg"
    small.save(thumbnail, quality=80, optimize=True)
    return {
        "file": sample.file,
        "name": sample.name,
        "thumbnail": thumbnail.name,
        "label": _LABELS[drawn.label],
        "box": _box(drawn.mask, sample.bar),
        "size": list(image.size),
        "seed": sample.seed,
    }


def _thumbnails(folder: Path) -> Path:
    return folder.parent / "thumbnails"


def _box(mask: NDArray[np.bool_], bar: int) -> list[int] | None:
    box = Image.fromarray(mask).getbbox()
    return None if box is None else [box[0] + bar, box[1], box[2] + bar, box[3]]


def main() -> None:
    """Fill a folder with the samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    write_samples(parser.parse_args().output)


if __name__ == "__main__":
    main()

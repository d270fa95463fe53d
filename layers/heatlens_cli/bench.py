"""Print how long the explanation of images takes on this machine, stage by stage."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from heatlens.types import Upload
from heatlens_cli.console import shown
from heatlens_cli.load import load
from heatlens_cli.measure import PERCENTILES, Measurement, explain_repeatedly, sample_image
from heatlens_cli.read_file import read_file


def bench(images: Sequence[Path], model_dir: Path | None, seconds: float) -> Iterator[str]:
    """Yield the lines of a measurement.

    Raises:
        HeatlensError: The model cannot be loaded, or an image cannot be explained.
        OSError: An image cannot be read.
    """
    model, limits = load(model_dir)
    paths = list(images) or [sample_image()]
    uploads = [Upload(path.name, read_file(path, limits.file_bytes)) for path in paths]
    yield f"model       {model.card.name} {model.card.version}, {model.engine.name} in {model.engine.precision}"
    yield f"images      {', '.join(shown(path.name) for path in paths)}"
    yield from _lines(explain_repeatedly(model, uploads, limits, seconds=seconds))


def _lines(found: Measurement) -> Iterator[str]:
    yield f"repeated    {len(found.milliseconds)} times, one image after another"
    percentiles = ", ".join(f"p{percent} {found.percentile(percent):.1f}" for percent in PERCENTILES)
    yield f"total       {percentiles} ms, {1000 / statistics.mean(found.milliseconds):.1f} images/s"
    for stage, milliseconds in found.stages.items():
        yield f"{stage:<11} p50 {statistics.median(milliseconds):.1f} ms"
    if not found.stable:
        yield "warning: the 95th percentile had not settled: give more --seconds, or free the machine"

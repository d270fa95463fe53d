"""Measure whole requests through both Lambda handlers: formats, models, libraries, and how cost grows.

The sides take turns. Before a time is taken, the maps of both must be the same as drawn.
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from heatlens.types import Precision
from tests.benchmarks.sides import SIDES, Child, Setup, ask, compare_maps, send, set_up, started, times, write_event

TURNS = 3
MODELS = ("resnet50", "densenet121", "efficientnet_b0", "vit_b_16", "demo")
LIBRARIES = {"torch-cam": "torchcam", "Captum": "captum"}  # and their modules
BATCHES = (1, 2, 4, 8)
TARGETS = (1, 3, 10)
Row = dict[str, Any]


def measure_formats(setup: Setup, images: dict[str, Path], sides: Sequence[str] = SIDES) -> list[Row]:
    """Measure a request with each image: time, stages, bytes of the answer, and peak memory in a new process."""
    rows = []
    for name, image in images.items():
        event = write_event(setup, [image])
        with both(setup, event, sides) as children:
            difference = compare_maps(setup, image, children["plain"])
            rows.append({"case": name, "difference": difference, **_row(children)})
            print(_line(rows[-1]), flush=True)
    return rows


def measure_models(home: Path, image: Path, precisions: Sequence[Precision]) -> list[Row]:
    """Measure a request with each model at each precision that it was compiled for."""
    rows = []
    for name in MODELS:
        for precision in precisions:
            with set_up(name, home, precision=precision) as setup:
                if not has_precision(setup.folder, precision):
                    continue
                with both(setup, write_event(setup, [image])) as children:
                    difference = compare_maps(setup, image, children["plain"])
                    rows.append({"case": f"{name}, {precision}", "difference": difference, **_row(children)})
                    print(_line(rows[-1]), flush=True)
    return rows


def measure_libraries(home: Path, image: Path) -> list[Row]:
    """Measure the plain service with another library, where it is installed, in place of pytorch-grad-cam."""
    rows = []
    for cam in (name for name, module in LIBRARIES.items() if find_spec(module)):
        with set_up("resnet50", home, cam=cam) as setup, both(setup, write_event(setup, [image])) as children:
            difference = compare_maps(setup, image, children["plain"])
            rows.append({"case": cam, "difference": difference, **_row(children)})
            print(_line(rows[-1]), flush=True)
    return rows


def measure_growth(setup: Setup, image: Path) -> dict[str, list[Row]]:
    """Measure requests with more images, and with more targets."""
    batches = [(count, write_event(setup, [image] * count, batch=True)) for count in BATCHES]
    targets = [(count, write_event(setup, [image], "&".join(f"target={i}" for i in range(count)))) for count in TARGETS]
    with both(setup, batches[0][1]) as children:
        return {"images": list(_grown(children, batches)), "targets": list(_grown(children, targets))}


@contextmanager
def both(setup: Setup, event: Path, sides: Sequence[str] = SIDES) -> Iterator[dict[str, Child]]:
    """Start the processes of both sides, which have answered an event."""
    with ExitStack() as stack:
        yield {side: stack.enter_context(started(side, setup, event)) for side in sides}


def has_precision(folder: Path, precision: Precision) -> bool:
    """Tell whether a model was compiled for a precision that this processor has."""
    from heatlens.engines.openvino import has_bf16
    from heatlens.errors import CardError
    from heatlens.model import load_model

    if precision == "bf16" and not has_bf16():
        return False
    try:
        return load_model(folder, precision=precision).engine.precision == precision
    except CardError:
        return False


def _grown(children: dict[str, Child], events: Sequence[tuple[int, Path]]) -> Iterator[Row]:
    for count, event in events:
        for child in children.values():
            send(child, event)
        taken = times(children, 2 if count > 1 else TURNS)
        yield {"case": count, "ms": {side: statistics.median(each) for side, each in taken.items()}, "samples": taken}
        print(count, {side: round(statistics.median(each)) for side, each in taken.items()}, flush=True)


def _row(children: dict[str, Child]) -> Row:
    taken = times(children, TURNS)
    facts = {side: json.loads(ask(child, "facts")) for side, child in children.items()}
    return {
        "ms": {side: statistics.median(each) for side, each in taken.items()},
        "samples": taken,
        "bytes": {side: each["bytes"] for side, each in facts.items()},
        "stages": facts["heatlens"]["stages"],
        "peak_mb": {side: float(ask(child, "peak")) for side, child in children.items()},
    }


def _line(row: Row) -> str:
    ours, plain = (row["ms"][side] for side in SIDES)
    return f"{row['case']}: {ours:.0f} ms against {plain:.0f} ms, {plain / ours:.1f}x, maps {row['difference']:.2f}"

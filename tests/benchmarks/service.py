"""`make bench`: compare the Lambda handler with the plain service in one run, on the same bytes.

Requests, start, memory, space, formats, models, other libraries, many images, and how cost grows. Each side is a
process of its own; they take turns until the 95th percentiles of both are stable. Before any time is taken, both must
have the same map.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

from heatlens_cli.measure import is_stable
from tests.benchmarks.cases import write_images
from tests.benchmarks.end_to_end import (
    both,
    measure_formats,
    measure_growth,
    measure_libraries,
    measure_models,
)
from tests.benchmarks.service_page import RESULTS, write_page
from tests.benchmarks.sides import (
    SIDES,
    Child,
    Setup,
    ask,
    compare_maps,
    processor_name,
    set_up,
    started,
    versions,
    write_event,
)
from tests.support.paths import ROOT

INSTALLED = {
    "heatlens": ["heatlens[server,aws]"],
    "plain": ["fastapi", "mangum", "python-multipart", "torch", "torchvision", "grad-cam", "pillow", "matplotlib"],
}
MAIN = "JPEG 1024²"
WINDOW = 10  # requests of each side, after which their 95th percentiles are computed again
STARTS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both sides; write the results, the page and the charts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / "out" / "bench", help="where compiled models are kept")
    parser.add_argument("--seconds", type=float, default=36, help="of the requests, at most")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.home.resolve(), write_images(Path(folder)), options.seconds)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(found)


def measure(home: Path, images: dict[str, Path], seconds: float) -> dict[str, Any]:
    """Return everything that the page shows, and the raw samples."""
    load, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    with set_up("resnet50", home) as setup:
        event = write_event(setup, [images[MAIN]])
        starts = measure_starts(setup, event)
        with both(setup, event) as children:
            difference = compare_maps(setup, images[MAIN], children["plain"])
            requests, stable = measure_requests(children, seconds)
            peaks = {side: float(ask(child, "peak")) for side, child in children.items()}
        found = {
            "formats": measure_formats(setup, images),
            "growth": measure_growth(setup, images["JPEG 512²"]),
            "bulk": {side: measure_bulk(side, setup, images[MAIN], processors) for side in SIDES},
            "bulk_of_one": measure_bulk("heatlens", setup, images[MAIN], 1),
        }
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor_name()}, {processors} processors, {platform.system()}",
        "processors": processors,
        "load": load,
        "versions": versions(),
        "difference": difference,
        "stable": stable,
        "request_ms": requests,
        "start_s": starts,
        "peak_mb": peaks,
        "installed_mb": {side: installed_megabytes(names) for side, names in INSTALLED.items()},
        **found,
        "models": measure_models(home, images[MAIN], ("f32", "bf16", "int8")),
        "libraries": measure_libraries(home, images[MAIN]),
    }


def measure_starts(setup: Setup, event: Path) -> dict[str, list[float]]:
    """Measure seconds from the start of a process to its first answer, the sides in turn; the first turn is a trial."""
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(STARTS + 1):
        for side in SIDES:
            before = time.perf_counter()
            with started(side, setup, event):
                seconds = time.perf_counter() - before
            if turn:
                taken[side].append(seconds)
                print(f"start {side} {seconds:.2f} s", flush=True)
    return taken


def measure_requests(children: dict[str, Child], seconds: float) -> tuple[dict[str, list[float]], bool]:
    """Measure milliseconds of requests, the sides in turn, until both are stable or the time is over."""
    taken: dict[str, list[float]] = {side: [] for side in children}
    percentiles: dict[str, list[float]] = {side: [] for side in children}
    end = time.monotonic() + seconds
    while True:
        for _ in range(WINDOW):
            for side, child in children.items():
                taken[side].append(float(ask(child, "time")))
        for side, times in taken.items():
            percentiles[side].append(float(np.percentile(times, 95)))
        stable = all(is_stable(each) for each in percentiles.values())
        print({side: f"p95 {each[-1]:.0f} ms" for side, each in percentiles.items()}, flush=True)
        if stable or time.monotonic() > end:
            return taken, stable


def measure_bulk(side: str, setup: Setup, image: Path, processors: int) -> dict[str, float]:
    """Measure images a second, and the utilization of some processors, without HTTP."""
    command = [sys.executable, "-m", "tests.benchmarks.bulk", side, str(image), str(processors)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=setup.environ, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(side, found, flush=True)
    return found


def installed_megabytes(names: Sequence[str]) -> float:
    """Add up the files of distributions and of all that they require."""
    waiting, sizes = [Requirement(name) for name in names], dict[str, int]()
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = (_normal(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        sizes[key[0]] = sum(_size(Path(str(file.locate()))) for file in found.files or [])
        for text in found.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in [*requirement.extras, ""]
            ):
                waiting.append(needed)
    return sum(sizes.values()) / 1e6


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()

"""`make bench`: compare the Lambda handler with the plain service in one run: request, start, memory, space.

Both handlers get the same API Gateway event, a JPEG of 1024 x 1024 pixels, and answer with overlay and original. Each
side is a process of its own; they take turns until the 95th percentiles of both are stable. Before any time is taken,
both must have the same map.
"""

import argparse
import base64
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement
from PIL import Image

from heatlens import Explainer
from heatlens_cli.events.http_events import heatmap_request, http_api_v2
from heatlens_cli.measure import is_stable, sample_image
from tests.benchmarks.service_page import RESULTS, SIDES, write_page
from tests.benchmarks.subjects import CLASSES, SIDE, Subject, prepare
from tests.support.paths import ROOT

MODULES = {"heatlens": "functions.api.handler", "plain": "tests.benchmarks.plain_service"}
INSTALLED = {
    "heatlens": ["heatlens[server,aws]"],
    "plain": ["fastapi", "mangum", "python-multipart", "torch", "torchvision", "grad-cam", "pillow", "matplotlib"],
}
TOOLS = ("openvino", "torch", "torchvision", "grad-cam", "pillow", "fastapi", "mangum")
WINDOW = 10  # requests of each side, after which their 95th percentiles are computed again
STARTS = 5
SAME = 2.0  # largest mean absolute difference of the maps as drawn, of 255


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both sides; write the results, the page and the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / "out" / "bench", help="where the compiled model is kept")
    parser.add_argument("--seconds", type=float, default=240, help="of the requests, at most")
    options = parser.parse_args(arguments)
    subject = Subject("resnet50", options.home)
    prepare(subject)
    with tempfile.TemporaryDirectory() as folder:
        environ = _environ(subject, Path(folder))
        found = measure(environ, options.seconds)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(found)


def measure(environ: dict[str, str], seconds: float) -> dict[str, Any]:
    """Return everything that the page shows, and the raw samples."""
    starts = measure_starts(environ)
    with ExitStack() as stack:
        children = {side: stack.enter_context(started(side, environ)) for side in SIDES}
        difference = compare_pictures(_picture(children["plain"]), Path(environ["HEATLENS_MODEL_DIR"]))
        requests, stable = measure_requests(children, seconds)
        peaks = {side: float(ask(child, "peak")) for side, child in children.items()}
    return {
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} processors, {platform.system()}",
        "versions": {tool: version(tool) for tool in TOOLS},
        "difference": difference,
        "stable": stable,
        "request_ms": requests,
        "start_s": starts,
        "peak_mb": peaks,
        "installed_mb": {side: installed_megabytes(names) for side, names in INSTALLED.items()},
    }


def measure_starts(environ: dict[str, str]) -> dict[str, list[float]]:
    """Measure seconds from the start of a process to its first answer, the sides in turn; the first turn is a trial."""
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(STARTS + 1):
        for side in SIDES:
            before = time.perf_counter()
            with started(side, environ):
                seconds = time.perf_counter() - before
            if turn:
                taken[side].append(seconds)
                print(f"start {side} {seconds:.2f} s", flush=True)
    return taken


def measure_requests(
    children: "dict[str, subprocess.Popen[str]]", seconds: float
) -> tuple[dict[str, list[float]], bool]:
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


def compare_pictures(plain: Image.Image, folder: Path) -> float:
    """Draw the map of Heatlens as the plain service draws, and return the mean absolute difference, of 255.

    pytorch-grad-cam enlarges a map with OpenCV and scales it from its minimum, not from 0, to its maximum. So the
    overlays of both sides have other colors, and the maps are compared.

    Raises:
        SystemExit: They are not the same picture.
    """
    import cv2

    from tests.benchmarks.plain_overlay import overlay

    image = sample_image()
    positive = np.maximum(Explainer.load(folder).explain(image).signed_map, 0)
    heat = cv2.resize((positive - positive.min()) / np.ptp(positive), (SIDE, SIDE))
    with Image.open(image) as original:
        expected = overlay(original.convert("RGB"), heat, "jet", 0.4)
    difference = float(np.abs(np.asarray(expected, dtype=np.float32) - np.asarray(plain, dtype=np.float32)).mean())
    if difference > SAME:
        raise SystemExit(f"the maps differ by {difference:.2f} of 255 on average: nothing is measured")
    return difference


@contextmanager
def started(side: str, environ: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start a side's process, and wait for its first answer."""
    command = [sys.executable, str(Path(__file__).with_name("service_child.py")), MODULES[side], environ["BENCH_EVENT"]]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environ
        ) as child,
    ):
        assert child.stdin
        assert child.stdout
        if child.stdout.readline() != "200\n":
            child.wait()
            log.seek(0)
            raise SystemExit(f"{side} did not answer: {log.read()[-2000:]}")
        yield child
        child.stdin.close()


def ask(child: "subprocess.Popen[str]", command: str) -> str:
    """Send a command to a side's process, and return its answer."""
    assert child.stdin
    assert child.stdout
    child.stdin.write(f"{command}\n")
    child.stdin.flush()
    return child.stdout.readline()


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


def _picture(child: "subprocess.Popen[str]") -> Image.Image:
    with Image.open(io.BytesIO(base64.b64decode(ask(child, "picture")))) as image:
        return image.convert("RGB")


def _environ(subject: Subject, folder: Path) -> dict[str, str]:
    import torch

    from tests.benchmarks.peers import seeded_network

    image = sample_image()
    event = folder / "event.json"
    event.write_text(json.dumps(http_api_v2(heatmap_request(image.name, image.read_bytes()))), encoding="utf-8")
    torch.save(seeded_network(subject).state_dict(), folder / "weights.pt")
    paths = os.pathsep.join([str(ROOT / "layers"), str(ROOT)])
    return {name: value for name, value in os.environ.items() if not name.startswith("HEATLENS_")} | {
        "BENCH_EVENT": str(event),
        "HEATLENS_MODEL_DIR": str(subject.folder),
        "PLAIN_WEIGHTS": str(folder / "weights.pt"),
        "PLAIN_CLASSES": str(CLASSES),
        "PYTHONPATH": paths,
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()

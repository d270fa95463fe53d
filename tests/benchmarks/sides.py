"""Run both sides of `make bench`, each in a process of its own, with the same model and the same events."""

import base64
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from PIL import Image

from heatlens import Explainer
from heatlens.card import read_card
from heatlens.model import load_model
from heatlens.settings import DEMO_MODEL, read_settings
from heatlens.types import Precision
from heatlens_cli.events.http_events import HttpRequest, http_api_v2, multipart
from tests.benchmarks.subjects import Subject, prepare
from tests.support.paths import ROOT

SIDES = ("heatlens", "plain")
TOOLS = ("openvino", "torch", "torchvision", "grad-cam", "torchcam", "captum", "pillow", "fastapi", "mangum")
MODULES = {"heatlens": "functions.api.handler", "plain": "tests.benchmarks.plain_service"}
SAME = 2.0  # largest mean absolute difference of the maps as drawn, of 255
UNLIMITED = {f"HEATLENS_{name}": "100000000" for name in ("ANSWER_JSON_BYTES", "BODY_BYTES", "FILE_BYTES")}

Child = subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Setup:
    """A model for both sides, the environment of their processes, and the folder of what they read."""

    folder: Path
    precision: Precision
    environ: dict[str, str]
    scratch: Path


@contextmanager
def set_up(name: str, home: Path, *, cam: str = "pytorch-grad-cam", precision: Precision = "f32") -> Iterator[Setup]:
    """Compile a model of `subjects`, or take the demo model, and write what the plain service reads of it."""
    if name == "demo":
        folder, description = DEMO_MODEL, ROOT / "layers" / "heatlens_torch" / "demo" / "model.toml"
    else:
        subject = Subject(name, home)
        prepare(subject)
        folder, description = subject.folder, subject.description
    with tempfile.TemporaryDirectory() as scratch:
        _write_plain(folder, description, Path(scratch), cam)
        paths = os.pathsep.join([str(ROOT / "layers"), str(ROOT)])
        dropped = {"PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS"}
        own = {name: value for name, value in os.environ.items() if name not in dropped and name[:9] != "HEATLENS_"}
        environ = {
            **own,
            **UNLIMITED,
            "HEATLENS_MODEL_DIR": str(folder),
            "HEATLENS_PRECISION": precision,
            "PLAIN_CONFIG": str(Path(scratch, "plain.json")),
            "PYTHONPATH": paths,
            "PYTHONPYCACHEPREFIX": str(Path(scratch, "bytecode")),  # an image has it; the first start writes it
            "MALLOC_ARENA_MAX": "1",  # as the image sets it
        }
        yield Setup(folder, precision, environ, Path(scratch))


def write_event(setup: Setup, images: Sequence[Path], query: str = "", *, batch: bool = False) -> Path:
    """Write the event of a request with images, one or a batch, and return its file."""
    files = [(image.name, image.read_bytes()) for image in images]
    content_type, body = multipart("files" if batch else "file", files, boundary="benchmark")
    path = "/api/inference/heatmap-batch" if batch else "/api/inference/heatmap"
    request = HttpRequest(path, query, headers={"content-type": content_type}, body=body)
    event = setup.scratch / f"event-{len(list(setup.scratch.iterdir()))}.json"
    event.write_text(json.dumps(http_api_v2(request)), encoding="utf-8")
    return event


@contextmanager
def started(side: str, setup: Setup, event: Path) -> Iterator[Child]:
    """Start a side's process, and wait for its first answer."""
    command = [sys.executable, str(Path(__file__).with_name("service_child.py")), MODULES[side], str(event)]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=setup.environ
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


def ask(child: Child, command: str) -> str:
    """Send a command to a side's process, and return its answer."""
    assert child.stdin
    assert child.stdout
    child.stdin.write(f"{command}\n")
    child.stdin.flush()
    return child.stdout.readline().rstrip("\n")


def send(child: Child, event: Path) -> None:
    """Have a side answer another event from now on.

    Raises:
        SystemExit: It does not answer with 200.
    """
    if (status := ask(child, f"event {event}")) != "200":
        raise SystemExit(f"the answer to {event} has status {status}")


def times(children: dict[str, Child], turns: int) -> dict[str, list[float]]:
    """Measure milliseconds of requests, the sides in turn."""
    taken: dict[str, list[float]] = {side: [] for side in children}
    for _ in range(turns):
        for side, child in children.items():
            taken[side].append(float(ask(child, "time")))
    return taken


def compare_maps(setup: Setup, image: Path, plain: Child) -> float:
    """Draw our map as the plain service draws, and return the mean absolute difference from its answer, of 255.

    pytorch-grad-cam enlarges a map with OpenCV and scales it from its minimum, not from 0, to its maximum. So the
    overlays of both sides have other colors, and the maps are compared.

    Args:
        setup: Of both sides.
        image: The file that the plain side's last event has.
        plain: The plain side's process.

    Raises:
        SystemExit: They are not the same picture.
    """
    import cv2

    from tests.benchmarks.plain_image import read_image
    from tests.benchmarks.plain_overlay import overlay

    model = load_model(setup.folder, precision=setup.precision)
    explanation = Explainer(model, read_settings()).explain(image, overlay=False)
    positive = np.maximum(explanation.signed_map, 0)
    side = read_card(setup.folder)[0].preprocess.shape[0]
    heat = cv2.resize((positive - positive.min()) / max(float(np.ptp(positive)), 1e-7), (side, side))
    with image.open("rb") as file:
        expected = np.asarray(overlay(read_image(file), heat, "jet", 0.4), np.float32)
    with Image.open(io.BytesIO(base64.b64decode(ask(plain, "picture")))) as answer:
        difference = float(np.abs(expected - np.asarray(answer.convert("RGB"), np.float32)).mean())
    if difference > SAME:
        raise SystemExit(f"{image.name}: the maps differ by {difference:.2f} of 255 on average: nothing is measured")
    return difference


def versions() -> dict[str, str]:
    """Return the versions of the tools that are installed."""
    found = {}
    for tool in TOOLS:
        with suppress(PackageNotFoundError):
            found[tool] = version(tool)
    return found


def processor_name() -> str:
    """Return the name of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def processor_seconds(process: int) -> float:
    """Return the seconds of processors that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system


def _write_plain(folder: Path, description: Path, scratch: Path, cam: str) -> None:
    import torch

    from tests.benchmarks.peers import network_of

    card = read_card(folder)[0]
    layer = card.layers[0]
    torch.save(network_of(description), scratch / "network.pt")
    config = {
        "network": str(scratch / "network.pt"),
        "layer": layer.name,
        "grid": layer.shape[1:] if layer.tokens else None,
        "side": card.preprocess.shape[0],
        "mean": card.preprocess.mean,
        "std": card.preprocess.std,
        "cam": cam,
    }
    (scratch / "plain.json").write_text(json.dumps(config), encoding="utf-8")

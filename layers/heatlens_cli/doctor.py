"""Report what is installed, which engine and precision run, and how long an explanation takes."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from heatlens import __version__
from heatlens.engines.resources import cuda_devices, read_machine
from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens.settings import MIB, Limits
from heatlens.types import Upload
from heatlens_cli.extras import EXTRA_MODULES
from heatlens_cli.load import load
from heatlens_cli.measure import explain_repeatedly, sample_image

LIBRARIES = ("openvino", "onnxruntime", "torch", "torchvision", "numpy", "pillow", "fastapi", "boto3", "pydicom")
OPTIONAL = {"client": "botocore", "dicom": "pydicom", "heic": "pi_heif", "onnxruntime": "onnxruntime"}
OPTIONAL |= {"hf": "transformers", "timm": "timm", "onnx": "onnxscript", "int8": "nncf"}
TIMED_S = 1.0  # at most, after the first window

Status = Literal["ok", "-", "WARNING", "FAILED"]


@dataclass(frozen=True, slots=True)
class Check:
    """One fact of this machine; `-` is what may be missing."""

    status: Status
    name: str
    finding: str


def examine(model_dir: Path | None) -> Iterator[Check]:
    """Yield the checks, the model's last; none of them raises."""
    yield Check("ok", "heatlens", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield Check("ok", "processor", _processor())
    yield Check("ok", "memory", _memory())
    yield Check("ok" if (count := cuda_devices()) else "-", "GPU", f"{count} for CUDA" if count else "none for CUDA")
    yield Check("ok", "libraries", ", ".join(_versions()))
    yield from _extras()
    yield from _model(model_dir)


def _processor() -> str:
    share = read_machine().processors
    allowed = len(os.sched_getaffinity(0))
    limited = f", limited to {share:g} by the control group" if share is not None and share < allowed else ""
    return f"{_cpu_name()}, {allowed} cores{limited}"


def _cpu_name(cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory(mem_info: Path = Path("/proc/meminfo")) -> str:
    limit = read_machine().memory_bytes
    limited = f", limited to {limit / MIB:,.0f} MiB" if limit is not None else ""
    try:
        facts = dict(line.split(":", 1) for line in mem_info.read_text().splitlines())
        total, free = (int(facts[name].split()[0]) // 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return f"unknown{limited}"
    return f"{free:,} of {total:,} MiB free{limited}"


def _versions() -> Iterator[str]:
    for name in LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def _extras() -> Iterator[Check]:
    modules = {**EXTRA_MODULES, **{extra: {module} for extra, module in OPTIONAL.items()}}
    for extra, needed in sorted(modules.items()):
        missing = sorted(module for module in needed if find_spec(module) is None)
        if missing:
            yield Check("-", f"extra {extra}", _advice(extra, missing[0]))
        else:
            yield Check("ok", f"extra {extra}", "installed")


def _advice(extra: str, module: str) -> str:
    return f"not installed ({module} is missing): pip install 'heatlens[{extra}]'"


def _model(model_dir: Path | None) -> Iterator[Check]:
    start = time.perf_counter()
    try:
        model, limits = load(model_dir)
    except HeatlensError as error:
        yield Check("FAILED", "model", str(error))
        return
    seconds = time.perf_counter() - start
    yield Check("ok", "model", f"{model.card.name} {model.card.version}, sha256 {model.sha256}")
    if model.card.draft:
        yield Check("WARNING", "proof", "none: it is a draft, which no server loads")
    yield _engine(model, seconds)
    yield _timed_map(model, limits)


def _engine(model: Model, seconds: float) -> Check:
    golden = model.golden
    status: Status = "ok" if golden.status == "passed" else "WARNING"
    running = f"{model.engine.name} in {model.engine.precision} on {model.engine.device}, loaded in {seconds:.2f} s"
    return Check(status, "engine", f"{running}; golden explanation {golden.status}: {golden.reason}")


def _timed_map(model: Model, limits: Limits) -> Check:
    path = sample_image()
    try:
        found = explain_repeatedly(model, [Upload(path.name, path.read_bytes())], limits, seconds=TIMED_S)
    except HeatlensError as error:
        return Check("FAILED", "explanation", str(error))
    return Check(
        "ok",
        "explanation",
        f"{found.percentile(50):.1f} ms, median of {len(found.milliseconds)}, of a JPEG of 1024 x 1024 pixels",
    )

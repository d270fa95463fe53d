"""`make bench-gpu`: prove and measure the engines on a GPU, in at most eight minutes.

It proves that ONNX Runtime and PyTorch compute on CUDA what OpenVINO does on the processor, runs the tests that other
machines skip, and compares ONNX Runtime with pytorch-grad-cam on the same card. Without a GPU, it writes that nothing
was measured. `--rehearse` takes the same steps on the processor, with few and small batches, and writes no page.

On a bare machine, `--wheels FOLDER` installs what it needs into .venv-gpu from a folder of wheels; `--requirements`
prints what to put there.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
import tomllib
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "tests" / "benchmarks" / "GPU.md"
ENVIRONMENT = ROOT / ".venv-gpu"
EXTRAS = ("server", "aws", "torch")
TOOLS = ("pytest", "hypothesis", "moto[server]", "jsonschema")  # what the tests import
RUNTIME = "onnxruntime-gpu[cuda,cudnn]"
MINUTES = 8
CUDA_TESTS = ("tests/unit/heatlens/engines/test_onnx_runtime.py", "tests/functional/compile/test_torch_engine.py")
BATCHES, ROUNDS, BUSY_SECONDS = (1, 8, 64), 15, 3.0
LARGEST_DIFFERENCE = 1e-4  # of the largest value; TF32 is off on both sides
NOT_MEASURED = "not measured"
Explain = Callable[[Any, Sequence[Sequence[int]]], object]


@dataclass(frozen=True, slots=True)
class Row:
    """Median milliseconds of a batch on each side, and percents of the GPU's time; `None` where not measured."""

    batch: int
    ours: float | None = None
    theirs: float | None = None
    our_use: float | None = None
    their_use: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that the page shows."""

    machine: str
    parity: dict[str, str]
    tests: str
    rows: Sequence[Row]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prove, test, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install from, without a network")
    parser.add_argument("--requirements", action="store_true", help="print what the folder of wheels needs")
    parser.add_argument("--rehearse", action="store_true", help="take every step on the processor, in small")
    parser.add_argument("--home", type=Path, default=ROOT / "out" / "bench-gpu", help="where the model is kept")
    options = parser.parse_args(arguments)
    if options.requirements:
        print("\n".join(requirements()))
    elif options.wheels:
        raise SystemExit(run_from_wheels(options.wheels, rehearse=options.rehearse))
    elif options.rehearse:
        print("\n".join(page_lines(examine(options.home, cuda=False))))
    else:
        found = examine(options.home, cuda=True) if has_gpu() else nothing()
        PAGE.write_text("\n".join([*page_lines(found), ""]), encoding="utf-8")
        print(PAGE.read_text(encoding="utf-8"))


def requirements() -> list[str]:
    """List what the script and the tests import, with ONNX Runtime's CUDA build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra in EXTRAS for name in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *TOOLS, RUNTIME]


def run_from_wheels(wheels: Path, *, rehearse: bool) -> int:
    """Install into an environment of its own from a folder, and run there."""
    venv.create(ENVIRONMENT, with_pip=True)
    python = ENVIRONMENT / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels), *requirements()]
    if status := subprocess.run([python, *install], check=False).returncode:
        return status
    paths = os.pathsep.join([str(ROOT / "layers"), str(ROOT)])
    words = ["-m", "tests.benchmarks.gpu", *(["--rehearse"] if rehearse else [])]
    return subprocess.run([python, *words], check=False, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}).returncode


def has_gpu() -> bool:
    """Tell whether NVIDIA's driver lets this process use a GPU."""
    from heatlens.engines.resources import cuda_devices

    return cuda_devices() > 0


def nothing() -> Found:
    """Return what a machine without a GPU finds."""
    engines = dict.fromkeys(("ONNX Runtime", "PyTorch"), NOT_MEASURED)
    return Found("no GPU", engines, NOT_MEASURED, [Row(batch) for batch in BATCHES])


def examine(home: Path, *, cuda: bool) -> Found:
    """Take every step, in small on the processor; what there is no time for is not measured."""
    end = time.monotonic() + 60 * MINUTES - 30
    folder, network = prepare(home, "resnet50" if cuda else "resnet18")
    parity = prove(folder, cuda=cuda)
    sides = (ours(folder, cuda=cuda), theirs(network, folder, cuda=cuda))
    batches, rounds = (BATCHES, ROUNDS) if cuda else ((1, 2), 2)
    rows = [measure(batch, sides, rounds, cuda=cuda) if time.monotonic() < end else Row(batch) for batch in batches]
    machine = describe_machine() if cuda else "rehearsal on the processor, with ResNet-18"
    return Found(machine, parity, run_tests(end), rows)


def prepare(home: Path, name: str) -> tuple[Path, Any]:
    """Compile a network with seeded weights, unless that was done; return the folder and the network itself."""
    from heatlens_torch.compile import compile_model
    from tests.benchmarks.peers import seeded_network
    from tests.benchmarks.subjects import DESCRIPTION, SIDE, Subject

    subject = Subject(name, home)
    if not subject.folder.exists():
        subject.description.parent.mkdir(parents=True, exist_ok=True)
        subject.description.write_text(DESCRIPTION.format(name=name, side=SIDE), encoding="utf-8")
        compile_model(subject.description, subject.folder, with_torch=True)
    return subject.folder, seeded_network(subject)


def prove(folder: Path, *, cuda: bool) -> dict[str, str]:
    """Compare activation, logits and gradient of both engines with OpenVINO's on the processor.

    Raises:
        SystemExit: They differ, or an engine runs elsewhere than it should.
    """
    from heatlens.model import load_model
    from tests.support.engines import largest_difference, mixed_calls

    reference = load_model(folder, engine="openvino")
    found: dict[str, str] = {}
    for title, name in (("ONNX Runtime", "onnxruntime"), ("PyTorch", "torch")):
        engine = load_model(folder, engine=name).engine  # type: ignore[arg-type]
        if cuda and engine.device != "CUDA":
            raise SystemExit(f"{title} does not run on the GPU: nothing is measured")
        difference = largest_difference(engine, reference.engine, mixed_calls(reference.card, 4))
        if difference > LARGEST_DIFFERENCE:
            raise SystemExit(f"{title} on {engine.device} differs by {difference:.1e}: nothing is measured")
        found[title] = f"{difference:.1e} of the largest value, on {engine.device} in {engine.precision}"
    return found


def run_tests(end: float) -> str:
    """Run the files whose tests need a GPU, and return pytest's last line."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "gpu", *CUDA_TESTS]
    try:
        done = subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=max(1.0, end - time.monotonic())
        )
    except subprocess.TimeoutExpired:
        return f"{NOT_MEASURED}: out of time"
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
    return done.stdout.strip().splitlines()[-1].strip("= ")


def ours(folder: Path, *, cuda: bool) -> Explain:
    """Return the explanation by ONNX Runtime in float32; what crosses the cut stays on the device."""
    from heatlens.explain.attribution import MethodOptions, attribute
    from heatlens.explain.targets import TargetRequest
    from heatlens.model import load_model

    model = load_model(folder, engine="onnxruntime")
    assert not cuda or model.engine.device == "CUDA"

    def explain(images: Any, classes: Sequence[Sequence[int]]) -> object:  # noqa: ANN401 - an array
        wanted = [TargetRequest(tuple((index,) for index in each)) for each in classes]
        return attribute(model.engine, model.card, images, wanted, MethodOptions())

    return explain


def theirs(network: Any, folder: Path, *, cuda: bool) -> Explain:  # noqa: ANN401 - a torch module
    """Return pytorch-grad-cam's explanation in float32 on the same device."""
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from heatlens.card import read_card
    from heatlens_torch.graph.probe import target

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if cuda else "cpu"
    network = network.to(device).eval()
    cam = GradCAM(network, [target(network, read_card(folder)[0].layers[0].name)])

    def explain(images: Any, classes: Sequence[Sequence[int]]) -> object:  # noqa: ANN401 - an array
        batch = torch.from_numpy(images).to(device)
        return cam(batch, [ClassifierOutputTarget(index) for [index] in classes])

    return explain


def measure(batch: int, sides: tuple[Explain, Explain], rounds: int, *, cuda: bool) -> Row:
    """Let both sides take turns on the same images; both return arrays of the host, so each has ended."""
    from tests.benchmarks.subjects import classes, images

    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 2):
        for side, times in zip(sides, taken, strict=True):
            before = time.perf_counter()
            side(images(batch), classes(batch, 1))
            if turn >= 2:
                times.append((time.perf_counter() - before) * 1000)
    medians = [statistics.median(times) for times in taken]
    use = [_utilization(partial(side, images(batch), classes(batch, 1))) if cuda else None for side in sides]
    return Row(batch, *medians, *use)


def _utilization(run: Callable[[], object]) -> float | None:
    """Return the mean percent of the GPU's time that is used while something runs again and again."""
    with subprocess.Popen(
        ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", "0", "-lms", "100"],
        stdout=subprocess.PIPE,
        text=True,
    ) as sampler:
        samples: list[float] = []
        reader = threading.Thread(target=lambda: samples.extend(_numbers(sampler.stdout)), daemon=True)
        reader.start()
        end = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < end:
            run()
        sampler.terminate()
        reader.join(5)
    return statistics.mean(samples[len(samples) // 3 :]) if samples else None  # the first lag behind


def _numbers(lines: Any) -> Iterator[float]:  # noqa: ANN401 - a pipe
    for line in lines:
        if line.strip().isdigit():
            yield float(line)


def describe_machine() -> str:
    """Name the card, its driver and the libraries."""
    card = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "-i", "0"]
        card = subprocess.run(query, check=False, capture_output=True, text=True).stdout.strip()
    tools = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime-gpu", "torch", "grad-cam"))
    return f"{card or 'NVIDIA GPU'}, Python {platform.python_version()}, {tools}"


def page_lines(found: Found) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# The engines on a GPU"
    yield ""
    yield "Written by `make bench-gpu`; do not edit. ResNet-50 at 224 x 224, seeded weights, one class of each image."
    yield "Both sides compute in float32, without TF32, and get and return arrays of the host."
    yield ""
    yield f"Machine: {found.machine}."
    yield ""
    yield "| engine on the GPU | difference from OpenVINO on the processor |"
    yield "|---|---|"
    yield from (f"| {name} | {text} |" for name, text in found.parity.items())
    yield ""
    yield f"Tests that need a GPU: {found.tests}."
    yield ""
    yield "| images | Heatlens, ONNX Runtime | pytorch-grad-cam | ratio | GPU used by Heatlens | by pytorch-grad-cam |"
    yield "|---|---|---|---|---|---|"
    yield from map(_line, found.rows)


def _line(row: Row) -> str:
    if row.ours is None or row.theirs is None:
        return f"| {row.batch} |" + f" {NOT_MEASURED} |" * 5
    used = " | ".join(NOT_MEASURED if use is None else f"{use:.0f} %" for use in (row.our_use, row.their_use))
    return f"| {row.batch} | {row.ours:.1f} ms | {row.theirs:.1f} ms | {row.theirs / row.ours:.1f}x | {used} |"


if __name__ == "__main__":
    main()

"""`make bench-engine`: compare the explanation with its peers in one run, in time and peak memory.

Peers take turns, round after round, so that a busy machine is busy for all of them, each after a pause in which the
threads of the one before come to rest; each figure is a median. Peak memory is that of a process of its own.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from heatlens.engines.peak_memory import peak_mib
from tests.benchmarks.peers import PEERS, Explain
from tests.benchmarks.subjects import Subject, classes, images, prepare

ARCHITECTURES = ("resnet50", "densenet121", "efficientnet_b0", "vit_b_16")
GRID = tuple((count, targets) for count in (1, 8, 32) for targets in (1, 3, 10))  # images, targets
ROUNDS = 15
PAUSE_SECONDS = 0.3
CELL_SECONDS = 10.0  # a cell has fewer rounds than it should where it would take longer
MEMORY_IMAGES = 8
TOOLS = ("openvino", "torch", "torchvision", "grad-cam", "torchcam", "captum")


@dataclass(frozen=True, slots=True)
class Cell:
    """Median milliseconds of each peer that can do it, and how often each was measured."""

    subject: str
    images: int
    targets: int
    milliseconds: dict[str, float]
    rounds: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--home", type=Path, default=Path("out/bench"), help="where compiled models are kept")
    parser.add_argument("--out", type=Path, help="Markdown file to write, after each architecture")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peak:
        print(json.dumps(peak(options.peak, Subject(options.names[0], options.home))))
        return
    cells: list[Cell] = []
    memory: dict[str, dict[str, float]] = {}
    for name in options.names:
        subject = Subject(name, options.home)
        prepare(subject)
        peers = dict(_ready(subject))
        for count, targets in GRID:
            cells.append(measure(subject, peers, count, targets))
            print(line(cells[-1]), flush=True)
        memory[name] = {peer: _peak_of(peer, subject) for peer in peers}
        print(f"{name}: peak MB {memory[name]}", flush=True)
        if options.out:
            options.out.write_text(render(cells, memory), encoding="utf-8")
    print(render(cells, memory))


def measure(subject: Subject, peers: dict[str, Explain], count: int, targets: int) -> Cell:
    """Let the peers take turns, warmed by a round before: those that take a class at a time by one class."""
    batch, wanted = images(count), classes(count, targets)
    for peer, explain in peers.items():
        explain(batch, wanted if peer == "heatlens" else classes(count, 1))
    taken: dict[str, list[float]] = {peer: [] for peer in peers}
    start = time.perf_counter()
    for _ in range(ROUNDS):
        for peer, explain in peers.items():
            time.sleep(PAUSE_SECONDS)
            before = time.perf_counter()
            explain(batch, wanted)
            taken[peer].append((time.perf_counter() - before) * 1000)
        if time.perf_counter() - start > CELL_SECONDS:
            break
    medians = {peer: statistics.median(times) for peer, times in taken.items()}
    return Cell(subject.name, count, targets, medians, len(taken["heatlens"]))


def line(cell: Cell) -> str:
    """A cell as a row of the table: our milliseconds, and how many times longer the others take."""
    ours = cell.milliseconds["heatlens"]
    others = [
        f"{cell.milliseconds[peer] / ours:.2f}" if peer in cell.milliseconds else "-"
        for peer in PEERS
        if peer != "heatlens"
    ]
    return f"| {cell.subject} | {cell.images} | {cell.targets} | {ours:.1f} | {' | '.join(others)} | {cell.rounds} |"


def render(cells: Sequence[Cell], memory: dict[str, dict[str, float]]) -> str:
    """All of it as Markdown."""
    peers = [peer for peer in PEERS if peer != "heatlens"]
    lines = [
        "# The explanation against its peers",
        "",
        "Written by `make bench-engine`; do not edit. Grad-CAM at 224x224 on this machine's processor in float32,",
        "seeded weights. Milliseconds are heatlens's median for the whole batch; the other columns say how many times",
        "as long a peer takes in the same run. The two forward passes only answer logits: they are floors, not peers.",
        "A dash is what a peer cannot do. GPU: not measured.",
        "",
        f"{platform.machine()}, {_processor()}; {', '.join(f'{tool} {version(tool)}' for tool in TOOLS)}.",
        "",
        f"| architecture | images | targets | heatlens, ms | {' | '.join(peers)} | rounds |",
        f"|---|---|---|---|{'---|' * len(peers)}---|",
        *map(line, cells),
        "",
        f"Peak memory of a process that explains {MEMORY_IMAGES} images, in MB. The compiled forward pass is converted",
        "there, by PyTorch.",
        "",
        f"| architecture | heatlens | {' | '.join(peers)} |",
        f"|---|---|{'---|' * len(peers)}",
    ]
    for name, figures in memory.items():
        shown = [f"{figures[peer]:.0f}" if peer in figures else "-" for peer in ("heatlens", *peers)]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def peak(peer: str, subject: Subject) -> float:
    """Megabytes that this process had at most, once the peer has explained a batch."""
    PEERS[peer](subject)(images(MEMORY_IMAGES), classes(MEMORY_IMAGES, 1))
    return peak_mib()


def _peak_of(peer: str, subject: Subject) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.engine", subject.name, "--home", str(subject.home)]
    done = subprocess.run([*command, "--peak", peer], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _ready(subject: Subject) -> Iterator[tuple[str, Explain]]:
    for peer, make in PEERS.items():
        try:
            yield peer, make(subject)
        except NotImplementedError as reason:
            print(f"{subject.name}, {peer}: {reason}")


def _processor() -> str:
    named = (text for text in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in text)
    return next(named, "unknown").rpartition(":")[2].strip()


if __name__ == "__main__":
    main()

"""Measure the resident memory of a process over many explanations.

`python -m tests.benchmarks.memory --engine onnxruntime --calls 2000`. Each line is after that many calls, with batches
of one to eight images and mixed classes, from as many threads as `--workers` says. Memory that keeps growing is a leak.
"""

import argparse
import resource
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np

import heatlens_web.app  # noqa: F401 - what a server has in memory before its model
from heatlens.engines.peak_memory import peak_mib
from heatlens.model import Model, load_model
from heatlens.settings import DEMO_MODEL, MIB
from heatlens.types import EngineName, Precision

LARGEST_BATCH = 8
LINES = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL)
    parser.add_argument("--engine", choices=get_args(EngineName), default="auto")
    parser.add_argument("--precision", choices=get_args(Precision), default="f32")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args(arguments)
    print(f"{'imports':>14} {resident():8.1f} MiB")
    model = load_model(options.model, engine=options.engine, precision=options.precision, threads=options.threads)
    print(f"{'loaded':>14} {resident():8.1f} MiB  {model.engine.name} {model.engine.precision} {model.engine.device}")
    explain(model, 1)
    print(f"{'one image':>14} {resident():8.1f} MiB")
    explain(model, LARGEST_BATCH)
    print(f"{'a batch of 8':>14} {resident():8.1f} MiB")
    each = max(1, options.calls // LINES)
    with ThreadPoolExecutor(options.workers) as pool:  # kept, as the servers keep theirs
        for done in range(each, options.calls + 1, each):
            many(model, each, pool)
            print(f"{done:>14} {resident():8.1f} MiB", flush=True)
    print(f"{'peak':>14} {peak_mib():8.1f} MiB")


def many(model: Model, calls: int, pool: ThreadPoolExecutor) -> None:
    """Explain batches of every size in turn."""
    running = [pool.submit(explain, model, 1 + call % LARGEST_BATCH, seed=call) for call in range(calls)]
    for each in running:
        each.result()


def explain(model: Model, count: int, seed: int = 0) -> None:
    """Run trunk and tail on noise, and drop the results."""
    rng = np.random.default_rng(seed)
    crossing = model.engine.trunk(rng.random((count, 3, *model.card.preprocess.shape), np.float32))
    selector = np.zeros((count, model.card.logits), np.float32)
    selector[::2, seed % model.card.logits] = 1
    model.engine.tail(crossing, selector)


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


if __name__ == "__main__":
    main()

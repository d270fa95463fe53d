"""Checks that the test file of each engine shares."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heatlens.card import Card, Graph, read_card
from heatlens.engines.base import Engine
from heatlens.types import Floats

THREADS, CALLS = 8, 200


@dataclass(frozen=True)
class EngineCall:
    """One call: images and their selectors."""

    batch: Floats
    selector: Floats


def graphs_of(folder: Path) -> tuple[Graph, Graph]:
    """Read the trunk and the tail of a model folder's default layer."""
    return read_card(folder)[0].layer().graphs_at("f32")


def mixed_calls(card: Card, count: int = 12, *, most: int = 3) -> list[EngineCall]:
    """Make batches of up to `most` images whose rows select the predicted class, a class, a negated one, a contrast."""
    rng = np.random.default_rng(3)
    calls = []
    for index in range(count):
        images = 1 + index % most
        selector = np.zeros((images, card.logits), np.float32)
        for row in range(images):
            kind = (index + row) % 4
            if kind == 1:
                selector[row, index % card.logits] = 1
            elif kind == 2:
                selector[row, (index + 1) % card.logits] = -1
            elif kind == 3:
                selector[row] = rng.standard_normal(card.logits, dtype=np.float32)
        calls.append(EngineCall(rng.standard_normal((images, 3, *card.preprocess.shape), dtype=np.float32), selector))
    return calls


def run_call(engine: Engine, call: EngineCall) -> tuple[Floats, ...]:
    """Return activation, logits and gradient of one call."""
    crossing = engine.trunk(call.batch)
    return (crossing[0], *run_tail(engine, crossing, call.selector))


def run_tail(engine: Engine, crossing: Sequence[Floats], selector: Floats) -> tuple[Floats, Floats]:
    """Return the logits and the gradient of a tail that has one."""
    logits, gradient = engine.tail(crossing, selector)
    assert gradient is not None
    return logits, gradient


def largest_difference(engine: Engine, other: Engine, calls: Sequence[EngineCall]) -> float:
    """Compute the largest difference of two engines' results, relative to the largest value of each result."""
    differences = []
    for call in calls:
        for ours, theirs in zip(run_call(engine, call), run_call(other, call), strict=True):
            assert ours.shape == theirs.shape
            assert ours.dtype == theirs.dtype == np.float32
            differences.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    return max(differences)


def calls_wrong_in_threads(engine: Engine, calls: Sequence[EngineCall]) -> list[int]:
    """List the calls that differ in any bit when `THREADS` threads make `CALLS` each at once."""
    alone = [run_call(engine, call) for call in calls]
    wrong: list[int] = []
    together = threading.Barrier(THREADS)

    def work(first: int) -> None:
        together.wait()
        for step in range(CALLS):
            index = (first * 5 + step) % len(calls)
            results = run_call(engine, calls[index])
            if not all(np.array_equal(*pair) for pair in zip(results, alone[index], strict=True)):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong

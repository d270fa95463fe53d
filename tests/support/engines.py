"""What every engine must be able to do, asked of each in its own test file."""

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
class Asked:
    """One call: images and what of them is explained."""

    batch: Floats
    selector: Floats


def graphs_of(folder: Path) -> tuple[Graph, Graph]:
    """The trunk and the tail of a model folder's default layer."""
    return read_card(folder)[0].layer().graphs_at("f32")


def mixed(card: Card, count: int = 12, *, most: int = 3) -> list[Asked]:
    """Batches of up to `most` images whose rows ask for the predicted class, a class, a negated one and a contrast."""
    rng = np.random.default_rng(3)
    asked = []
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
        asked.append(Asked(rng.standard_normal((images, 3, *card.preprocess.shape), dtype=np.float32), selector))
    return asked


def answer(engine: Engine, asked: Asked) -> tuple[Floats, ...]:
    """Activation, logits and gradient of one call."""
    crossing = engine.trunk(asked.batch)
    return (crossing[0], *engine.tail(crossing, asked.selector))


def furthest(engine: Engine, other: Engine, calls: Sequence[Asked]) -> float:
    """The largest difference of anything two engines answer, as a part of the largest value of its kind."""
    differences = []
    for asked in calls:
        for ours, theirs in zip(answer(engine, asked), answer(other, asked), strict=True):
            assert ours.shape == theirs.shape
            assert ours.dtype == theirs.dtype == np.float32
            differences.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    return max(differences)


def wrong_of_many_threads(engine: Engine, calls: Sequence[Asked]) -> list[int]:
    """Which calls, of `THREADS` threads that make `CALLS` each at once, differ in any bit from the same made alone."""
    alone = [answer(engine, asked) for asked in calls]
    wrong: list[int] = []
    together = threading.Barrier(THREADS)

    def work(first: int) -> None:
        together.wait()
        for step in range(CALLS):
            index = (first * 5 + step) % len(calls)
            found = answer(engine, calls[index])
            if not all(np.array_equal(*pair) for pair in zip(found, alone[index], strict=True)):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong

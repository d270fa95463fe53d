"""Time an engine: one explanation on this machine, compared with the card's, and the passes that the card states."""

import time
from collections.abc import Callable

import numpy as np

from heatlens.card import Card, Cost
from heatlens.engines.base import Engine
from heatlens.engines.default_map import explain_by_default
from heatlens.types import Floats

RUNS, BUDGET_S = 5, 0.5  # of one measurement, the first run aside: a request or a start waits for it
COMPILING_RUNS, COMPILING_BUDGET_S = 15, 1.0


def measure_slowdown(engine: Engine, card: Card) -> float | None:
    """Return how much slower this machine explains an image than the compiling one did; `None` if that is unknown.

    Args:
        engine: Of the card's first layer, warmed up by the golden check.
        card: Of the model.
    """
    cost = card.layers[0].cost
    if cost is None:
        return None
    return 1000 * fastest(lambda: _explain(engine, card)) / cost.golden_ms


def measure_cost(engine: Engine, card: Card, batch: int) -> Cost:
    """Measure the passes of an engine of a layer, in float32.

    Args:
        engine: Of the layer.
        card: Its preprocessing and logits count.
        batch: Images in a batch of the methods that run the network for each channel.
    """
    images = np.zeros((batch, card.preprocess.channels, *card.preprocess.shape), np.float32)
    crossing, selectors = engine.trunk(images), np.zeros((batch, card.logits), np.float32)

    def milliseconds(run: Callable[[], object]) -> float:
        return 1000 * fastest(run, runs=COMPILING_RUNS, budget_s=COMPILING_BUDGET_S)

    return Cost(
        trunk_ms=milliseconds(lambda: engine.trunk(images)) / batch,
        tail_ms=milliseconds(lambda: engine.tail(crossing, selectors)) / batch,
        golden_ms=milliseconds(lambda: _explain(engine, card)),
        batch=batch,
    )


def fastest(run: Callable[[], object], *, runs: int = RUNS, budget_s: float = BUDGET_S) -> float:
    """Return the seconds of the fastest of a few runs; none is begun after the budget."""
    began, taken = time.perf_counter(), list[float]()
    while not taken or (len(taken) < runs and time.perf_counter() - began < budget_s):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return max(min(taken), 1e-6)


def _explain(engine: Engine, card: Card) -> Floats:
    image = np.zeros((1, card.preprocess.channels, *card.preprocess.shape), np.float32)
    return explain_by_default(engine, image, np.zeros((1, card.logits), np.float32)).signed_map

"""Measure how long explanations take on this machine, until their 95th percentile is stable."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens.options import read_options
from heatlens.pipeline import explain
from heatlens.results import Explanation
from heatlens.settings import Limits
from heatlens.types import Options, Upload

WARM_UP = 3  # explanations that are not counted
WINDOW = 20  # explanations after which the 95th percentile is computed again
STABLE = 0.1  # largest relative difference of the last three percentiles
PERCENTILES = (50, 90, 95, 99)


class CannotMeasure(HeatlensError):
    """An image that is to be measured cannot be explained."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Milliseconds of each run, and of its stages; `stable` says whether the 95th percentile had settled.

    `processor_seconds` is the mean of one run, of all threads of this process.
    """

    milliseconds: tuple[float, ...]
    stages: dict[str, tuple[float, ...]]
    stable: bool
    processor_seconds: float

    def percentile(self, percent: float) -> float:
        """Return a percentile of the milliseconds of an explanation."""
        return float(np.percentile(self.milliseconds, percent))


def explain_repeatedly(
    model: Model,
    uploads: Sequence[Upload],
    limits: Limits,
    *,
    seconds: float,
    options: Options | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Explain images in turn, until three windows agree in their 95th percentile or the time is over.

    Args:
        model: The loaded model.
        uploads: Images, one a request.
        limits: Of one image.
        seconds: When to stop at the latest, after one window.
        options: Of the explanations; by default the overlay of the predicted class.
        clock: Seconds.

    Raises:
        CannotMeasure: An image cannot be explained.
    """
    options = options or read_options({}, frozenset({"overlay"}))

    turns = cycle(uploads)
    return run_repeatedly(
        lambda: explain_one(model, next(turns), limits, options).timings_ms,
        warm_up=max(WARM_UP, len(uploads)),
        seconds=seconds,
        clock=clock,
    )


def explain_one(model: Model, upload: Upload, limits: Limits, options: Options) -> Explanation:
    """Explain one image.

    Raises:
        CannotMeasure: It cannot be explained.
    """
    [outcome] = explain(model, [upload], options, limits=limits, batch_images=1)
    if isinstance(outcome, HeatlensError):
        raise CannotMeasure(f"{upload.filename}: {outcome}") from outcome
    return outcome


def run_repeatedly(
    run: Callable[[], Mapping[str, float]],
    *,
    warm_up: int = WARM_UP,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    processor_clock: Callable[[], float] = time.process_time,
) -> Measurement:
    """Run something until three windows agree in their 95th percentile or the time is over.

    Args:
        run: What is measured; it returns the milliseconds of its stages.
        warm_up: Runs that are not counted.
        seconds: When to stop at the latest, after one window.
        clock: Seconds.
        processor_clock: Seconds that this process has run on any processor.
    """
    for _ in range(warm_up):
        run()
    taken: list[float] = []
    stages: dict[str, list[float]] = {}
    percentiles: list[float] = []
    end, began = clock() + seconds, processor_clock()
    while True:
        for _ in range(WINDOW):
            before = clock()
            timings = run()
            taken.append((clock() - before) * 1000)
            for stage, milliseconds in timings.items():
                stages.setdefault(stage, []).append(milliseconds)
        percentiles.append(float(np.percentile(taken, 95)))
        stable = is_stable(percentiles)
        if stable or clock() > end:
            processor_seconds = (processor_clock() - began) / len(taken)
            kept = {stage: tuple(each) for stage, each in stages.items()}
            return Measurement(tuple(taken), kept, stable, processor_seconds)


def is_stable(percentiles: Sequence[float]) -> bool:
    """Whether the last three percentiles differ by at most a tenth."""
    last = percentiles[-3:]
    return len(last) == 3 and max(last) - min(last) <= STABLE * min(last)


def sample_image() -> Path:
    """Return the image that is explained if none is named: a synthetic radiograph of 1024 x 1024 pixels."""
    from importlib.resources import files

    return Path(str(files("heatlens_web").joinpath("static/samples/phantom-03-opacity.jpg")))

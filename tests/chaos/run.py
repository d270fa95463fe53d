"""Run a whole campaign from a seed: each fault in turn, then random faults, in several processes."""

import io
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import cache
from itertools import product
from pathlib import Path

from heatlens.model import Model, load_model
from tests.chaos.campaign import WORLD_IMAGES, at_random
from tests.chaos.client import NAME
from tests.chaos.faults import Fault
from tests.chaos.findings import Broken
from tests.chaos.protections import Protection
from tests.chaos.summary import Summary
from tests.chaos.turns import LIVES, MEANWHILES, Turns, in_turn
from tests.support.tiny import write_tiny_model

IMAGES = 2000
TROUBLES = (*(str(fault) for fault in Fault if fault is not Fault.MEANWHILE), *MEANWHILES)
WORD = NAME.partition(" ")[0]

# The model's folder, what is taken in turn or nothing, the seed, the images at random, what is switched off.
Part = tuple[Path, Turns | None, int, int, Protection | None]


class Log(io.TextIOBase):
    """Captures what the product prints and records lines with a file's name."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def write(self, text: str) -> int:
        if WORD in text:
            self._summary.broken.append(Broken(6, "the log", "a file name in a line"))
        return len(text)


def run(
    *,
    seed: int,
    images: int,
    without: Protection | None = None,
    lives: Iterable[str] = tuple(LIVES),
    troubles: Iterable[str] = TROUBLES,
    processes: int = 1,
) -> Summary:
    """Run a campaign.

    Args:
        seed: Repeats it, whatever the number of processes.
        images: How many are sent at random.
        without: The protection that is switched off.
        lives: Those that troubles come into in turn.
        troubles: Those that are tried at each single call of such a life.
        processes: How many worlds go on at once; 1 stays in this process.
    """
    began = time.monotonic()
    off = f", {without} switched off" if without else ""
    summary = Summary(f"fault campaign: seed {seed}, {images:,} images at random{off}")
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny_model(Path(name))
        turns = [Turns(life, trouble) for life, trouble in product(lives, troubles)]
        parts: list[Part] = [(folder, each, seed, 0, without) for each in turns if each.apt]
        for number, start in enumerate(range(0, images, WORLD_IMAGES)):
            parts.append((folder, None, seed * 1_000_003 + number, min(WORLD_IMAGES, images - start), without))
        for done in _done(parts, processes):
            summary.add(done)
    summary.seconds = time.monotonic() - began
    return summary


def _done(parts: Sequence[Part], processes: int) -> Iterator[Summary]:
    if processes == 1:
        yield from map(_part, parts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=logging.disable, initargs=(logging.CRITICAL,)) as pool:
        yield from pool.map(_part, parts)


def _part(part: Part) -> Summary:
    """Run one fault in turn, or one random world."""
    folder, turns, seed, images, without = part
    summary, began = Summary(""), time.process_time()
    with redirect_stdout(Log(summary)):
        if turns:
            in_turn(_model(folder), seed, summary, turns, without=without)
        else:
            at_random(_model(folder), seed, images, summary, without=without)
    summary.busy_s = time.process_time() - began
    return summary


@cache
def _model(folder: Path) -> Model:
    return load_model(folder, threads=1)

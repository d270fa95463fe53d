"""Print the stages of a long command, each with the seconds since its start."""

import time
from collections.abc import Callable

from heatlens_cli.console import say


class Stages:
    """The stages of one command, which starts with the first of them."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start = clock()

    def begin(self, stage: str) -> None:
        """Print a stage as it begins, so that a long one is seen while it runs."""
        say(f"{self._clock() - self._start:6.1f} s  {stage}")

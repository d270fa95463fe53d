"""A simulated clock in place of the module `time`: an hour takes no time, and a seed repeats a run."""

import time

START = 1_800_000_000.0


class Clock:
    """Replaces the module `time` in the product; durations stay real."""

    perf_counter = staticmethod(time.perf_counter)
    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Return at once: pauses between tries have random lengths."""

    def advance(self, seconds: float) -> None:
        self.now += seconds

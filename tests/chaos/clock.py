"""Simulated seconds in the place of the module `time`, so that an hour takes no time and a seed repeats a run."""

import time

START = 1_800_000_000.0


class Clock:
    """Stands where the product has `import time`; what measures durations stays real."""

    perf_counter = staticmethod(time.perf_counter)
    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now

    @staticmethod
    def sleep(_: float) -> None:
        """Pauses between tries are of random length, and nobody but the one who pauses waits for them."""

    def advance(self, seconds: float) -> None:
        self.now += seconds

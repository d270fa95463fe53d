"""Show the progress of a batch: bars on a terminal, plain lines in a pipe or a file."""

from contextlib import AbstractContextManager, nullcontext

from heatlens_cli.console import out, say
from heatlens_cli.progress import Bars

TENTHS = 10


class Lines(Bars):
    """A line for each tenth of a stage's files."""

    live: AbstractContextManager[object]  # type: ignore[assignment]

    def __init__(self) -> None:
        self.live = nullcontext()
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._shown: dict[str, int] = {}

    def expect(self, stage: str, count: int) -> None:
        self._total[stage] = self._total.get(stage, 0) + count
        self._done.setdefault(stage, 0)
        self._shown[stage] = -1

    def advance(self, stage: str, count: int = 1) -> None:
        self._say(stage, self._done[stage] + count)

    def show(self, stage: str, done: int, *, rate: float | None, left: float | None) -> None:
        del rate, left
        self._say(stage, done)

    def _say(self, stage: str, done: int) -> None:
        self._done[stage] = done
        total = self._total[stage]
        tenth = done * TENTHS // total if total else TENTHS
        if tenth > self._shown[stage] and done:
            self._shown[stage] = tenth
            say(f"{stage} {done} of {total}")


def open_bars() -> Bars:
    """Return the bars of a terminal, or lines."""
    return Bars() if out.is_terminal else Lines()

"""Stages of a run -> a bar for each on the terminal: how many of how many, how fast, and the time left."""

from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from heatlens_cli.console import out


class Pace(ProgressColumn):
    """Files a second and the time left: as the server says of itself, else as measured here."""

    def render(self, task: Task) -> Text:
        """Both, as far as they are known; nothing of a stage that is done."""
        if task.finished:
            return Text()
        rate, left = task.fields.get("rate") or task.speed, task.fields.get("left") or task.time_remaining
        parts = [f"{rate:.1f}/s"] if rate else []
        parts += [f"{timedelta(seconds=round(left))} left"] if left else []
        return Text(", ".join(parts), style="progress.remaining")


class Bars:
    """The bars of all stages, in the order in which they begin."""

    def __init__(self) -> None:
        self.live = Progress(
            TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), Pace(), console=out
        )
        self._tasks: dict[str, TaskID] = {}

    def expect(self, stage: str, count: int) -> None:
        """Say that a stage has so many more files before it."""
        if stage not in self._tasks:
            self._tasks[stage] = self.live.add_task(stage, total=0)
        self.live.update(self._tasks[stage], total=(self._task(stage).total or 0) + count)

    def advance(self, stage: str, count: int = 1) -> None:
        """Say that so many more are done."""
        self.live.advance(self._tasks[stage], count)

    def show(self, stage: str, done: int, *, rate: float | None, left: float | None) -> None:
        """Say how far the server is."""
        self.live.update(self._tasks[stage], completed=done, rate=rate, left=left)

    def _task(self, stage: str) -> Task:
        return next(task for task in self.live.tasks if task.id == self._tasks[stage])

"""Show a progress bar for each stage of a run: files done, files per second and time left."""

from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from heatlens_cli.console import out


class Pace(ProgressColumn):
    """Files per second and time left: the server's own figures, else those measured here."""

    def render(self, task: Task) -> Text:
        """Render what is known; a finished stage shows nothing."""
        if task.finished:
            return Text()
        rate, left = task.fields.get("rate") or task.speed, task.fields.get("left") or task.time_remaining
        parts = [f"{rate:.1f}/s"] if rate else []
        parts += [f"{timedelta(seconds=round(left))} left"] if left else []
        return Text(", ".join(parts), style="progress.remaining")


class Bars:
    """The bars of all stages, in the order in which the stages begin."""

    def __init__(self) -> None:
        self.live = Progress(
            TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), Pace(), console=out
        )
        self._tasks: dict[str, TaskID] = {}

    def expect(self, stage: str, count: int) -> None:
        """Add files to a stage's total."""
        if stage not in self._tasks:
            self._tasks[stage] = self.live.add_task(stage, total=0)
        self.live.update(self._tasks[stage], total=(self._task(stage).total or 0) + count)

    def advance(self, stage: str, count: int = 1) -> None:
        """Count files of a stage as done."""
        self.live.advance(self._tasks[stage], count)

    def show(self, stage: str, done: int, *, rate: float | None, left: float | None) -> None:
        """Show the server's own progress of a stage."""
        self.live.update(self._tasks[stage], completed=done, rate=rate, left=left)

    def _task(self, stage: str) -> Task:
        return next(task for task in self.live.tasks if task.id == self._tasks[stage])

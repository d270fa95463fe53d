"""`python -m tests.chaos.lanes`: batches beside and behind a backfill on simulated time; exit status 0 if none fails.

The messages of the backfill are a number. Those of the observed batch are real, as are worker, sweeper and API.
"""

import argparse
import io
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from functions.batch import worker
from functions.batch.sweep import sweep
from heatlens.model import Model, load_model
from heatlens_aws.object_keys import Lane
from heatlens_aws.records import FileState
from heatlens_aws.settings import DAY, HOUR
from heatlens_web.batches.service import BatchService
from infra.local_account import PREFIXES
from tests.chaos import slow
from tests.chaos.client import OPTIONS, OWNER, declaration
from tests.chaos.clock import START
from tests.chaos.functions import Functions
from tests.chaos.hooks import Call, Json
from tests.chaos.images import good
from tests.chaos.queue import Letter, Queue
from tests.chaos.story import Event
from tests.chaos.timeline import Timeline
from tests.chaos.world import World, _clients, world
from tests.support.tiny import write_tiny_model

RETENTION_S = 4.0 * DAY
LONGEST_S = 20.0 * DAY
LOOK_S = 60.0
BACKFILL = 10_000_000
SMALL, LARGE = 10, 501  # files of a batch in either lane


@dataclass(frozen=True, slots=True)
class Case:
    """A batch that is uploaded while so many messages of a backfill wait; without `lanes` all is in one queue."""

    files: int
    backfill: int = 0
    lanes: bool = True
    seconds: float = 0.2  # of an image
    interactive: int = 4  # functions
    bulk: int = 10
    interactive_files: int = 500
    deadline_s: int = 5 * DAY
    sweep_s: float = 3600.0
    step_s: float = 600.0  # in which a function works off messages of the backfill

    @property
    def backlog_hours(self) -> float:
        """How long the bulk functions need for the backfill."""
        return self.backfill * self.seconds / self.bulk / HOUR


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the batch ended, how often an event was sent again, and the seconds from the first upload to the end."""

    lane: Lane
    states: Counter[FileState]
    resent: int
    seconds: float

    @property
    def failed(self) -> int:
        """The files that did not succeed."""
        return self.states.total() - self.states[FileState.OK]


class LaneQueue(Queue):
    """A lane's queue, with messages of a backfill that were sent before all others; it keeps messages for four days."""

    def __init__(self, made: World, timeline: Timeline, case: Case, url: str, backfill: int) -> None:
        super().__init__(timeline, made.rng, made.counts, made.story, url=url, doubled=0.0)
        self._timeline, self._case, self.backfill = timeline, case, backfill

    def receive(self, most: int) -> list[Letter]:
        """Receive messages; those of the backfill, which come first, are worked off here."""
        while self.backfill:
            taken = min(self.backfill, max(1, round(self._case.step_s / self._case.seconds)))
            self.backfill -= taken
            self._timeline.sleep(taken * self._case.seconds)
        self._forget()
        return super().receive(most)

    def before(self, call: Call) -> Json | None:
        answer = super().before(call)
        if answer and "Attributes" in answer:
            self._forget()
            name = "ApproximateNumberOfMessages"
            answer["Attributes"][name] = str(int(answer["Attributes"][name]) + self.backfill)
        return answer

    def _forget(self) -> None:
        """Delete the messages that are older than the queue keeps them."""
        for letter in list(self._letters.values()):
            if letter.sent < self._timeline.now - RETENTION_S:
                del self._letters[letter.id]
                self._counts["messages deleted by age"] += 1


@dataclass(frozen=True, slots=True)
class Router:
    """Sends each event to the queue that S3's notification names for the prefix of its key."""

    queues: dict[Lane, LaneQueue]

    def send(self, body: str, *, event: Event, **named: Any) -> str:  # noqa: ANN401 - passes through
        """Send an event to the queue of its lane."""
        [lane] = [lane for prefix, lane in PREFIXES if event.key.startswith(prefix)]
        return self.queues[lane].send(body, event=event, **named)


def simulate(model: Model, case: Case, seed: int) -> Outcome:
    """Upload one batch, and let functions and sweeper work until it has ended."""
    timeline, counts = Timeline(), Counter[str]()
    with world(model, seed, counts, clock=timeline) as bare:
        made, queues = _with_lanes(bare, timeline, case)
        images = [good(made.rng) for _ in range(case.files)]
        batch_id = _upload(made, images)
        slowly = slow.Slow(timeline, random.Random(seed), slow.Case(case.seconds, case.bulk, case.files))
        with patch.object(worker, "explain", slowly.explain):
            ended = _work(made, timeline, case, queues, batch_id)
        batch = made.desk.find(OWNER, batch_id)
        states = Counter(file.state for file in made.account.jobs.files(batch))
        return Outcome(batch.lane, states, counts["events sent again"], ended - START)


def _with_lanes(bare: World, timeline: Timeline, case: Case) -> tuple[World, dict[Lane, LaneQueue]]:
    """Give a world the case's queues and settings."""
    urls = {lane: f"https://queue/{lane if case.lanes else 'all'}" for lane in Lane}
    settings = bare.account.settings.model_copy(
        update={f"{lane}_queue_url": url for lane, url in urls.items()}
        | {"batch_deadline_s": case.deadline_s, "interactive_files": case.interactive_files}
    )
    account = replace(bare.account, settings=settings)
    made = replace(bare, account=account, desk=BatchService(account.jobs, account.staging, settings))
    bulk = LaneQueue(made, timeline, case, urls[Lane.BULK], case.backfill)
    interactive = LaneQueue(made, timeline, case, urls[Lane.INTERACTIVE], 0) if case.lanes else bulk
    queues = {Lane.INTERACTIVE: interactive, Lane.BULK: bulk}
    made.bucket.queue = Router(queues)  # type: ignore[assignment]
    wires = _clients()[2]
    wires.hooks = (*wires.hooks, interactive, bulk)
    return made, queues


def _upload(made: World, images: Sequence[bytes]) -> str:
    batch_id = made.desk.create(OWNER, expected=len(images), options=OPTIONS, model="m" * 64).batch_id
    links = []
    for start in range(0, len(images), made.account.settings.call_files):
        chunk = images[start : start + made.account.settings.call_files]
        links += made.desk.declare(made.desk.find(OWNER, batch_id), [declaration(data) for data in chunk]).files
    batch = made.desk.find(OWNER, batch_id)
    for link, data in zip(links, images, strict=True):
        made.bucket.put(batch.upload_key(link.number), data, once=True)
    made.desk.close(batch)
    return batch_id


def _work(made: World, timeline: Timeline, case: Case, queues: dict[Lane, LaneQueue], batch_id: str) -> float:
    """Run the functions of each queue and the sweeper, and return when the batch had ended."""
    ended: list[float] = []
    looked = 0.0  # when an empty queue was found before its batch had ended

    def done() -> bool:
        nonlocal looked
        if not ended and timeline.now > looked + LOOK_S and not any(map(len, queues.values())):
            looked = timeline.now
            batch = made.account.jobs.batch(batch_id)
            if batch and batch.state.terminal:
                ended.append(timeline.now)
        return bool(ended)

    def sweeping() -> None:
        while not done():
            sweep(made.account, int(timeline.now), lambda: 300.0)
            if (batch := made.account.jobs.batch(batch_id)) and batch.state.terminal:
                ended.append(timeline.now)
            timeline.sleep(case.sweep_s)

    busy = {lane: queue for lane, queue in queues.items() if len(queue) or queue.backfill}
    for lane, queue in busy.items():
        if case.lanes or lane is Lane.BULK:
            functions = case.interactive if lane is Lane.INTERACTIVE else case.bulk
            Functions(made, timeline, queue, functions, name=lane).start(done)
    timeline.start(sweeping)
    timeline.run(most_s=LONGEST_S)
    return ended[0] if ended else timeline.now


def cases() -> list[tuple[str, Case]]:
    """List what the documentation shows."""
    return [
        ("small, alone", Case(SMALL)),
        ("small, backfill, one queue", Case(SMALL, BACKFILL, lanes=False)),
        ("small, backfill, two lanes", Case(SMALL, BACKFILL)),
        ("large, alone", Case(LARGE)),
        ("large, behind the backfill", Case(LARGE, BACKFILL)),
    ]


def table(rows: Sequence[tuple[str, Case, Outcome]]) -> str:
    """Write outcomes as a table in Markdown."""
    lines = [
        "| batch | files | hours of backlog | failed | events sent again | seconds | times alone |",
        "|" + "---|" * 7,
    ]
    alone = {case.files: outcome.seconds for _, case, outcome in rows if not case.backfill}
    for name, case, outcome in rows:
        cells = (name, case.files, f"{case.backlog_hours:.1f}", outcome.failed, outcome.resent)
        took = f"{outcome.seconds:,.0f} | {outcome.seconds / alone[case.files]:,.1f}"
        lines.append(f"| {' | '.join(map(str, cells))} | {took} |")
    return "\n".join(lines)


def main() -> int:
    """Simulate every case and print the table."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="repeats a simulation (default: %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model = load_model(write_tiny_model(Path(name)), threads=1)
    with redirect_stdout(io.StringIO()):
        rows = [(name, case, simulate(model, case, given.seed)) for name, case in cases()]
    print(table(rows))
    return 1 if any(outcome.failed for _, case, outcome in rows if case.lanes) else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.chaos.slow`: batches of slow images on simulated time; exit status 0 if no healthy image fails.

Each image takes a time near the given one. Poison is either an image that hangs until the function is killed, or one
that kills its process at once.
"""

import argparse
import hashlib
import io
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

from functions.batch import worker
from heatlens.model import Model, load_model
from heatlens.pipeline import explain
from heatlens.types import Upload
from heatlens_aws.object_keys import Lane, upload_key
from heatlens_aws.records import FileState
from tests.chaos.client import OPTIONS, OWNER, declaration
from tests.chaos.clock import START
from tests.chaos.functions import TIMEOUT_S, Functions, start_sweeper
from tests.chaos.images import good
from tests.chaos.timeline import Killed, Timeline
from tests.chaos.world import World, world
from tests.support.tiny import write_tiny_model

SECONDS, FUNCTIONS, FILES = (1, 5, 20, 40, 60, 100), (1, 2, 5, 10), 100
NEAR = 0.05  # of the time of an image
DOUBLED = 0.02  # deliveries to two functions, which standard queues may make
LONGEST_S = 24 * 3600.0
SWEEP_S = 600.0
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Case:
    """A batch of files, of which some are poison, and the functions that explain it."""

    seconds: float
    functions: int
    files: int = FILES
    hanging: int = 0
    killing: int = 0
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case: the files by state, the healthy ones that did not succeed, and what it took."""

    states: Counter[FileState]
    failed: int
    counts: Counter[str]
    hours: float


@dataclass(slots=True)
class Slow:
    """Takes the place of `explain`: each image takes simulated time, and poison kills."""

    timeline: Timeline
    rng: random.Random
    case: Case
    hanging: set[bytes] = field(default_factory=set)
    killing: set[bytes] = field(default_factory=set)

    def explain(self, model: Model, uploads: Sequence[Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        """Take the images' time, then explain them."""
        for upload in uploads:
            data = upload.data if isinstance(upload, Upload) else b""
            if data in self.killing:
                raise Killed
            hangs = data in self.hanging
            self.timeline.sleep(LONGEST_S if hangs else self.case.seconds * self.rng.uniform(1 - NEAR, 1 + NEAR))
        return explain(model, uploads, *arguments, **named)


def simulate(model: Model, case: Case, seed: int) -> Outcome:
    """Explain one batch to its end."""
    counts, timeline = Counter[str](), Timeline()
    with world(model, seed, counts, clock=timeline, doubled=DOUBLED) as made:
        images = [good(made.rng) for _ in range(case.files)]
        slow = Slow(timeline, random.Random(seed), case)
        slow.hanging, slow.killing = set(images[: case.hanging]), set(images[case.hanging :][: case.killing])
        batch_id = upload(made, images)
        with patch.object(worker, "explain", slow.explain):
            ended = explain_all(made, timeline, case)
        return _outcome(made, batch_id, slow, (ended - START) / HOUR)


def upload(world: World, images: Sequence[bytes]) -> str:
    """Declare and upload a batch, close it, and return its id."""
    desk = world.desk
    batch_id = desk.create(OWNER, expected=len(images), options=OPTIONS, model="m" * 64).batch_id
    links = desk.declare(desk.find(OWNER, batch_id), [declaration(data) for data in images]).files
    for link, data in zip(links, images, strict=True):
        world.bucket.put(upload_key(Lane.INTERACTIVE, batch_id, link.number), data, once=True)
    desk.close(desk.find(OWNER, batch_id))
    return batch_id


def explain_all(world: World, timeline: Timeline, case: Case) -> float:
    """Let the functions and the sweeper work until the queue is empty, and return when that was."""
    ended: list[float] = []

    def done() -> bool:
        if not len(world.queue):
            ended.append(timeline.now)
        return bool(ended)

    Functions(world, timeline, world.queue, case.functions, case.timeout_s).start(done)
    start_sweeper(world, timeline, done, every_s=SWEEP_S)
    timeline.run(most_s=LONGEST_S)
    return ended[0] if ended else timeline.now


def _outcome(world: World, batch_id: str, slow: Slow, hours: float) -> Outcome:
    batch = world.account.jobs.batch(batch_id)
    assert batch
    poison = {hashlib.sha256(data).hexdigest() for data in slow.hanging | slow.killing}
    files = list(world.account.jobs.files(batch))
    failed = [file.number for file in files if file.state is not FileState.OK and file.sha256 not in poison]
    states = Counter(file.state for file in files)
    return Outcome(states, len(failed), world.counts, hours)


def table(rows: Sequence[tuple[Case, Outcome]]) -> str:
    """Write outcomes as a table in Markdown."""
    lines = ["| s per image | functions | failed | invocations | deliveries | sent back | hours |", "|" + "---|" * 7]
    for case, outcome in rows:
        counts = outcome.counts
        cells = (case.seconds, case.functions, outcome.failed, counts["invocations"], counts["deliveries"])
        lines.append(f"| {' | '.join(map(str, cells))} | {counts['messages sent back']} | {outcome.hours:.2f} |")
    return "\n".join(lines)


def main() -> int:
    """Simulate every case and print the table."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="repeats a simulation (default: %(default)s)")
    parser.add_argument("--seconds", nargs="*", type=float, default=SECONDS, help="of an image (default: %(default)s)")
    parser.add_argument("--functions", nargs="*", type=int, default=FUNCTIONS, help="at once (default: %(default)s)")
    parser.add_argument("--files", type=int, default=FILES, help="of the batch (default: %(default)s)")
    parser.add_argument("--hanging", type=int, default=0, help="of them, until the timeout (default: %(default)s)")
    parser.add_argument("--killing", type=int, default=0, help="of them, their process (default: %(default)s)")
    given = parser.parse_args()
    cases = [
        Case(seconds, functions, given.files, given.hanging, given.killing)
        for seconds, functions in product(given.seconds, given.functions)
    ]
    with tempfile.TemporaryDirectory() as name:
        model = load_model(write_tiny_model(Path(name)), threads=1)
    with redirect_stdout(io.StringIO()):
        rows = [(case, simulate(model, case, given.seed)) for case in cases]
    print(table(rows))
    return 1 if any(outcome.failed for _, outcome in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

"""A purge leaves nothing, wherever a process dies: kill it after every single call, then let the sweeper run.

Each scenario runs once to count its calls to AWS. Then it runs again for each of them, and dies after that call.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from functions.batch.sweep import sweep
from heatlens.model import Model
from heatlens_aws.object_keys import Lane, manifest_key, upload_key
from heatlens_aws.records import FileState
from heatlens_web.batches.service import BatchService
from heatlens_web.schemas.batches import FileDeclaration
from tests.chaos.hooks import Call, Hook, Json, Wires
from tests.support.aws import Account
from tests.support.staged import NAME, Staged, desk, picture

OWNER, LABEL = "iam Dr. Jane", "class"
FILES = [picture()]


class Killed(BaseException):
    """The process is dead; nothing in the product may catch this."""


@dataclass
class Life(Hook):
    """Counts calls, acts before one of them, and dies after one of them: no later call of any thread is made."""

    dies_after: int | None = None
    acts_before: int | None = None
    act: Callable[[], object] = lambda: None
    calls: list[str] = field(default_factory=list)
    acting: bool = False
    dead: bool = False

    def before(self, call: Call) -> None:
        if self.acting:
            return
        if self.dead:
            raise Killed
        self.calls.append(call.name)
        call.notes["number"] = len(self.calls)
        if len(self.calls) == self.acts_before:
            self.acting = True
            self.act()
            self.acting = False

    def after(self, call: Call, answer: Json) -> None:
        del answer
        if self.dies_after and call.notes.get("number", 0) >= self.dies_after:
            self.dead = True
            raise Killed


@dataclass
class World:
    """One account for all lives, and the batch of the current one."""

    staged: Staged
    wires: Wires
    api: BatchService
    batch: str = ""

    def start(self) -> None:
        """Declare a batch, upload its files, and close it."""
        made = self.api.create(OWNER, expected=len(FILES), options={"include": ["overlay"]}, model="m")
        self.batch = made.batch_id
        files = [
            FileDeclaration(name=NAME, size=len(data), sha256=hashlib.sha256(data).hexdigest(), media_type="image/png")
            for data in FILES
        ]
        self.api.declare(self.api.find(OWNER, self.batch), files)
        for number, data in enumerate(FILES):
            self.staged.put(data, key=self.key(number))
        self.staged.aws.jobs.close(self.batch)

    def key(self, number: int) -> str:
        return upload_key(Lane.INTERACTIVE, self.batch, number)

    def work(self) -> None:
        """Explain all files in one invocation, which also finishes the batch."""
        events = [self.staged.put(data, key=self.key(number)) for number, data in enumerate(FILES)]
        self.staged.work(self.staged.received(*events))

    def settle(self) -> None:
        """End all files as a worker does, without finishing the batch."""
        for number in range(len(FILES)):
            self.staged.aws.jobs.settle(self.batch, number, FileState.FAILED, {"code": "x", "label": LABEL})

    def purge(self) -> None:
        self.api.purge(self.api.find_or_tombstone(OWNER, self.batch))

    def sweep(self, after: float) -> None:
        sweep(self.staged.context.account, int(time.time() + after), lambda: 100)

    def lived(self, do: Callable[[], object], life: Life) -> Life:
        """Do something with this life's calls."""
        self.wires.hooks = (life,)
        with suppress(Killed):
            do()
        self.wires.hooks = ()
        return life

    def end(self) -> None:
        """Sweep soon, and when the tombstone's time is over; then look for anything that is left."""
        for after in (61, self.api.settings.purge_watch_s + 1):
            self.sweep(after)
        aws = self.staged.aws
        listed = aws.clients.s3.list_object_versions(Bucket=aws.settings.bucket)
        assert aws.clients.dynamodb.scan(TableName=aws.settings.table)["Items"] == []
        assert listed.get("Versions", []) + listed.get("DeleteMarkers", []) == []


@pytest.fixture
def world(aws: Account, tiny_model: Model) -> Iterator[World]:
    staged = desk(aws, tiny_model)
    wires = Wires((aws.clients.s3, aws.clients.sqs, aws.clients.dynamodb))
    yield World(staged, wires, BatchService(aws.jobs, aws.staging, aws.settings))
    wires.hooks = ()


def each_call(
    world: World, prepare: Callable[[], object], do: Callable[[], object], *, alone: bool = True
) -> Iterator[int]:
    """Run a scenario as a whole; then for each of its calls prepare it again, and yield the call's number.

    Unless a batch must be `alone`, those of all calls are swept together, which takes less time.
    """
    world.start()
    prepare()
    whole = world.lived(do, Life())
    world.purge()
    world.end()
    assert len(whole.calls) > 3, whole.calls
    for number in range(1, len(whole.calls) + 1):
        world.start()
        prepare()
        yield number
        if alone:
            world.end()
    world.end()


def nothing() -> None:
    """Prepare nothing."""


def test_a_purge_that_is_killed_after_any_call_is_repeated(world: World) -> None:
    for number in each_call(world, nothing, world.purge):
        world.lived(world.purge, Life(dies_after=number))
        world.purge()


def test_a_worker_killed_after_any_call_leaves_nothing_after_a_purge(world: World) -> None:
    for number in each_call(world, nothing, world.work, alone=False):
        world.lived(world.work, Life(dies_after=number))
        world.purge()


def test_a_worker_whose_batch_is_purged_before_any_call_leaves_nothing(world: World) -> None:
    for number in each_call(world, nothing, world.work, alone=False):
        world.lived(world.work, Life(acts_before=number, act=world.purge))


def test_a_worker_killed_after_the_call_that_follows_a_purge_leaves_nothing(world: World) -> None:
    def erased() -> None:
        """The sweeper has erased everything once, and expects nothing more."""
        world.purge()
        world.sweep(1)

    for number in each_call(world, nothing, world.work, alone=False):
        world.lived(world.work, Life(acts_before=number, act=erased, dies_after=number))


def test_a_sweeper_killed_after_any_call_of_finishing_leaves_no_manifest(world: World) -> None:
    def finish() -> None:
        world.sweep(1)

    for number in each_call(world, world.settle, finish):
        life = world.lived(finish, Life(dies_after=number))
        assert life.dead
        world.purge()


def test_a_sweeper_killed_after_the_call_that_follows_a_purge_leaves_no_manifest(world: World) -> None:
    def finish() -> None:
        world.sweep(1)

    for number in each_call(world, world.settle, finish):
        world.lived(finish, Life(acts_before=number, act=world.purge, dies_after=number))
        if world.staged.aws.jobs.batch(world.batch):
            world.purge()


def test_a_sweeper_killed_after_any_call_of_erasing_continues(world: World) -> None:
    def erase() -> None:
        world.sweep(1)

    def purged() -> None:
        for name in ("manifest.json", f"00000/{world.batch}/overlay.png"):
            world.staged.put(NAME.encode(), key=f"out/{world.batch}/{name}")
        world.purge()

    for number in each_call(world, purged, erase):
        world.lived(erase, Life(dies_after=number))


def test_a_sweeper_killed_after_any_call_of_the_last_pass_leaves_nothing(world: World) -> None:
    def last() -> None:
        world.sweep(world.api.settings.purge_watch_s + 1)

    def purged() -> None:
        for name in ("manifest.json", f"00000/{world.batch}/overlay.png"):
            world.staged.put(NAME.encode(), key=f"out/{world.batch}/{name}")
        world.purge()

    world.start()
    purged()
    whole = world.lived(last, Life())
    for number in range(1, len(whole.calls) + 1):
        world.start()
        purged()
        world.lived(last, Life(dies_after=number))
        world.sweep(world.api.settings.purge_watch_s + 200)
        world.end()


def test_uploads_through_a_link_after_the_purge_are_erased(world: World) -> None:
    world.start()
    world.purge()
    world.sweep(1)
    stored = world.staged.put(FILES[0], key=world.key(0))

    assert world.staged.work(world.staged.received(stored)) == set()

    world.sweep(2)
    assert world.staged.keys("") == []
    world.end()


def test_a_manifest_is_there_before_a_purge(world: World) -> None:
    """The other tests would hold for a batch that writes nothing."""
    world.start()
    world.work()

    manifest: Any = world.staged.object(manifest_key(world.batch)).decode()

    assert NAME in manifest
    world.purge()
    world.end()

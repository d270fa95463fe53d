"""Run all uses of staged batches on an account in memory; each function has clients that record their calls."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import Response

from functions.batch import context as batch_context
from functions.batch.context import WorkerContext
from functions.batch.messages import parse_messages
from functions.batch.sweep import sweep
from functions.batch.worker import work
from heatlens.model import Model
from heatlens.registry import ModelRegistry
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.clients import Clients, connect
from heatlens_aws.creation import RequestKey
from heatlens_aws.object_keys import Lane, manifest_key
from heatlens_aws.records import Batch, BatchState, FileState, file_key
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_aws.staging import Staging, Stored
from heatlens_web.batches.service import BatchService
from heatlens_web.large_replies import Replies
from heatlens_web.schemas.batches import FileDeclaration
from tests.chaos.hooks import Call, Hook, Wires
from tests.support import staged
from tests.support.aws import Account
from tests.support.permissions import Recorder
from tests.support.sagemaker import NAME, FakeRuntime, connected, enveloped, with_endpoint
from tests.support.staged import picture

OPTIONS = {"colormap": "jet", "alpha": 0.4, "include": ["overlay", "original"]}
BULK = 501  # files of a batch in the bulk lane
QUOTAS = {"owner_batches": 50, "owner_files": 5000}
LATER = 3600  # seconds after which an event is taken for lost
LONG = 6 * 3600 + 900 + 60  # seconds after which an endpoint no longer responds


class Then(Hook):
    """Does something once, right after a given call: what other actors do meanwhile."""

    def __init__(self, waited_for: Callable[[Call], bool], do: Callable[[], object]) -> None:
        self._waited_for, self._do = waited_for, do
        self._done = False

    def after(self, call: Call, answer: staged.Json) -> None:
        if not self._done and self._waited_for(call):
            self._done = True
            self._do()


@dataclass
class Function:
    """One function, its clients and their calls."""

    recorder: Recorder
    wires: Wires
    jobs: BatchTable
    staging: Staging
    account: batch_context.Account
    always: tuple[Hook, ...] = ()

    def meanwhile(self, *hooks: Hook) -> None:
        self.wires.hooks = (self.recorder, *self.always, *hooks)


@dataclass
class Life:
    """The functions, the raw account, and helpers to give them work."""

    aws: Account
    model: Model
    tiny_folder: Path
    always: tuple[Hook, ...] = ()  # of every function
    api: Function = field(init=False)
    batch: Function = field(init=False)
    sweeper: Function = field(init=False)
    runtime: FakeRuntime = field(init=False)

    def __post_init__(self) -> None:
        self.api, self.batch, self.sweeper = (self._function() for _ in range(3))
        self.plain = staged.desk(self.aws, self.model)  # only for its makers of messages
        self.runtime = with_endpoint(self.plain, self.tiny_folder)
        self.settings = self.aws.settings.model_copy(update={"async_endpoint": NAME} | QUOTAS)
        self.desk = BatchService(self.api.jobs, self.api.staging, self.settings)
        account = connected(self.batch.account, self.runtime, self.settings)
        self.context = WorkerContext(account, ModelRegistry.of(self.model), STAGED_LIMITS, 8)
        self.sweeping = replace(self.sweeper.account, settings=self.settings)

    def open(self, *files: bytes, expected: int | None = None, **options: Any) -> Batch:  # noqa: ANN401 - as the desk's
        """Open a batch and declare its files."""
        key = RequestKey.of("me", secrets.token_hex(8), {})
        files_expected = expected or len(files)
        made = self.desk.create("me", expected=files_expected, options=OPTIONS, model="m", key=key, **options)
        assert self.desk.replay(key) == made
        batch = self.desk.find("me", made.batch_id)
        if files:
            self.desk.declare(batch, [declaration(each) for each in files])
        return self.again(batch)

    def again(self, batch: Batch) -> Batch:
        return self.desk.find("me", batch.id)

    def put(self, batch: Batch, number: int, data: bytes) -> Stored:
        return self.plain.put(data, key=batch.upload_key(number))

    def work(self, *bodies: Any, seconds: float = 100) -> None:  # noqa: ANN401 - as `received`
        for lane in Lane:
            work(self.context, parse_messages(self.plain.received(*bodies, lane=lane)), lambda: seconds)

    def sweep(self, after: float = 0) -> None:
        assert sweep(self.sweeping, int(time.time() + after), lambda: 100)["failed"] == 0

    def sweep_purged(self, batch: Batch, after: float = 0) -> None:
        """Sweep, and check that nothing of a purged batch is left."""
        assert self.aws.jobs.batch(batch.id) is None
        self.sweep(after)
        for root in ("in", "out", "async"):
            assert self.plain.keys(f"{root}/{batch.id}/") == []

    def _function(self) -> Function:
        clients: Clients = connect(self.aws.settings)
        recorder, wires = Recorder(), Wires((clients.s3, clients.sqs, clients.dynamodb))
        wires.hooks = (recorder, *self.always)
        settings = self.aws.settings
        jobs, staging = BatchTable(clients.dynamodb, settings.table), Staging(clients.s3, settings.bucket)
        account = batch_context.Account(settings, jobs, staging, clients.sqs)
        return Function(recorder, wires, jobs, staging, account, self.always)


def declaration(data: bytes) -> FileDeclaration:
    return FileDeclaration(
        name="a.png", size=len(data), sha256=hashlib.sha256(data).hexdigest(), media_type="image/png"
    )


def writes(key: str) -> Callable[[Call], bool]:
    return lambda call: call.name == "PutObject" and call.params["Key"] == key


def live(life: Life) -> None:
    """Run everything that the product does with its account."""
    _a_batch_and_its_retry(life)
    _lost_things(life)
    _half_done(life)
    _purges_meanwhile(life)
    _dropped(life)
    _by_the_endpoint(life)
    _a_large_answer(life)


def _a_batch_and_its_retry(life: Life) -> None:
    good, bad = picture(1), b"not an image"
    batch = life.open(good, bad, picture(2))
    life.desk.links(batch, start=0)
    stored = [life.put(batch, 0, good), life.put(batch, 1, bad)]
    life.work(stored[0], seconds=1)  # no time left: it is sent again
    for queue in (life.settings.interactive_queue_url, life.settings.bulk_queue_url):  # it would be a backlog
        life.aws.clients.sqs.purge_queue(QueueUrl=queue)
    life.work(*stored)
    life.desk.close(life.again(batch))
    life.desk.status(life.again(batch))
    assert life.again(batch).state is BatchState.PARTIAL
    assert life.desk.results(life.again(batch), start=0, limit=100).results[0].links

    retry = life.again(batch)
    second = life.desk.find("me", life.desk.retry("me", retry.id, model="m").batch_id)
    life.desk.links(second, start=0)
    life.desk.cancel(second)
    life.desk.purge(life.again(batch))
    life.desk.status(life.desk.find_or_tombstone("me", batch.id))
    life.sweep_purged(batch)
    life.sweep_purged(batch, after=life.settings.purge_watch_s + 1)
    assert life.aws.jobs.tombstones.find(batch.id) is None


def _lost_things(life: Life) -> None:
    data = picture(3)
    batch, bulk = life.open(data), life.open(data, expected=BULK)
    life.put(batch, 0, data)
    life.put(bulk, 0, data)
    life.sweep(after=LATER)  # their events are sent again
    # A declaring call that died reserved a number without a row; no call follows until the deadline.
    life.aws.clients.dynamodb.delete_item(TableName=life.aws.settings.table, Key=file_key(batch.id, 0))
    # Sending an event again is progress, which may move the deadline by as much as the time until then.
    life.sweep(after=LATER + life.settings.batch_deadline_s + 60)
    assert life.again(batch).state is BatchState.EXPIRED

    gap = life.open(data)
    life.aws.clients.dynamodb.delete_item(TableName=life.aws.settings.table, Key=file_key(gap.id, 0))
    life.desk.close(gap)
    assert life.again(gap).state is BatchState.FAILED


def _half_done(life: Life) -> None:
    """Remember a count, so that the next ones read the open row only."""
    first, second = picture(8), picture(9)
    batch = life.open(first, second)
    life.work(life.put(batch, 0, first))
    stored = life.put(batch, 1, second)
    life.desk.close(life.again(batch))
    for _ in range(2):
        life.sweep()
    life.desk.status(life.again(batch))
    life.work(stored)
    assert life.again(batch).state is BatchState.SUCCEEDED


def _purges_meanwhile(life: Life) -> None:
    data = picture(4)
    for function in (life.api, life.batch, life.sweeper):
        batch = life.open(data)
        stored = life.put(batch, 0, data)
        life.aws.jobs.close(batch.id)
        function.meanwhile(Then(writes(manifest_key(batch.id)), lambda batch=batch: life.desk.purge(batch)))  # type: ignore[misc]
        if function is life.batch:
            life.work(stored)
        else:
            life.aws.jobs.settle(batch.id, 0, FileState.FAILED, {"code": "batch.gave_up"})
            life.desk.status(life.again(batch)) if function is life.api else life.sweep()
        function.meanwhile()
        life.sweep_purged(batch, after=60)

    batch = life.open(data)
    life.batch.meanwhile(
        Then(
            lambda call: call.name == "PutObject" and call.params["Key"].endswith("result.json"),
            lambda: life.desk.purge(batch),
        )
    )
    life.work(life.put(batch, 0, data))
    life.batch.meanwhile()
    life.sweep_purged(batch, after=60)


def _dropped(life: Life) -> None:
    dropped = life.plain.put(picture(5), key="drop/ward 3/a+b.png")
    life.work(dropped)
    assert life.plain.keys("out/drop/")
    life.work(Stored("drop/gone.png", "no-such-version", '"0"'), Stored("drop/gone.png", None, '"0"'))


def _a_large_answer(life: Life) -> None:
    address = Replies(life.api.staging, 900, ()).keep("request", Response(b"{}", media_type="application/json"))
    assert life.plain.keys("reply/") == ["reply/request"]
    assert "reply/request" in address


def _by_the_endpoint(life: Life) -> None:
    first, second = picture(6), picture(7)
    batch = life.open(first, second, backend="sagemaker")
    life.work(life.put(batch, 0, first))
    [notice] = life.runtime.notices
    life.work(enveloped(notice))
    assert life.aws.jobs.file(batch.id, 0).state is FileState.OK  # type: ignore[union-attr]

    life.work(life.put(batch, 1, second))  # and its notice is lost
    life.sweep(after=LONG)
    assert life.aws.jobs.file(batch.id, 1).state is FileState.OK  # type: ignore[union-attr]

    life.desk.close(life.again(batch))
    life.desk.purge(life.again(batch))
    life.sweep_purged(batch)

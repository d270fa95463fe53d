"""Explain the objects that messages name and commit the results, one group at a time."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from functions.batch.async_collect import collect
from functions.batch.async_submit import submit
from functions.batch.context import WorkerContext
from functions.batch.deliver import deliver, deliver_failure, record
from functions.batch.destinations import DeclaredFile, DroppedObject, Foreign, Target, is_drop
from functions.batch.errors import GaveUp, WrongDigest
from functions.batch.logs import error_summary, log_failure, logger, metrics_of, tracing, write_counts
from functions.batch.messages import Item, Message, distinct_items
from functions.batch.requeue import delay, delete, put_off, send_back
from functions.batch.tasks import (
    AGAIN,
    DENIED,
    FOREIGN,
    IGNORED,
    LATER,
    SETTLED,
    SUPERSEDED,
    ItemEnd,
    Task,
    bounded,
    groups,
    select,
)
from heatlens.batching import count_pixels, try_together
from heatlens.errors import (
    EmptyFile,
    FileTooLarge,
    HeatlensError,
    InputError,
    InvalidOption,
    LimitError,
    ModelUnavailable,
    TooManyPasses,
)
from heatlens.pipeline import explain
from heatlens.plan import make_plan
from heatlens.results import Explanation, Outcome
from heatlens.types import Options, Upload
from heatlens_aws.batch_table import Outcome as Record
from heatlens_aws.deadline import note_progress
from heatlens_aws.denials import is_denied
from heatlens_aws.finishing import finish_if_done
from heatlens_aws.invocation_time import MARGIN_S
from heatlens_aws.metrics import BATCHES_ENDED, ITEMS, PASSES, PIXELS, QUEUE_WAIT_MS, Metric
from heatlens_aws.object_keys import IN, parse_upload_key
from heatlens_aws.records import Batch, BatchState, FileState
from heatlens_aws.sagemaker_async import Notice
from heatlens_aws.staging import Absent, Superseded, TooLarge

GAVE_UP = "every attempt failed for a reason other than the file itself: retry it"
PROGRESS = {state.value for state in FileState} - {FileState.PENDING.value}


def work(context: WorkerContext, messages: Sequence[Message], time_left: Callable[[], float]) -> set[str]:
    """Explain the objects that messages name, and commit each group before the next is read.

    Args:
        context: Models, account and limits.
        messages: Several may name one object.
        time_left: Seconds until the invocation is killed.

    Returns:
        Ids of the messages that are to be redelivered: an object they name is not done.
    """
    invocation = _Invocation(context, time_left)
    invocation.redeliver |= {message.id for message in messages if message.objects is None}
    for message in messages:
        if message.sent_ms is not None:
            invocation.metrics.add(QUEUE_WAIT_MS, max(0.0, time.time() * 1000 - message.sent_ms))
    tasks = invocation.admit(distinct_items(messages))
    if any(context.account.settings.queue_named(message.queue) for message in messages):
        tasks = invocation.select(tasks, messages)
    for group in groups(tasks, context.limits, context.batch_images):
        invocation.process(group)
    for message in messages:
        if message.notice:
            invocation.collect(message, message.notice)
    # Before the batches are finished: that may take long, and a kill would count as a failure of these.
    denied = invocation.denied - invocation.redeliver
    late = invocation.late - invocation.redeliver - denied
    invocation.redeliver |= send_back(context.account, [message for message in messages if message.id in late])
    invocation.redeliver |= put_off(context.account, [message for message in messages if message.id in denied])
    delay(context.account, [message for message in messages if message.id in invocation.redeliver])
    invocation.finish_batches()
    write_counts(invocation.metrics, invocation.counts)
    return invocation.redeliver


class _Invocation:
    """The state of one invocation."""

    def __init__(self, context: WorkerContext, time_left: Callable[[], float]) -> None:
        self.redeliver: set[str] = set()
        self.late: set[str] = set()
        self.denied: set[str] = set()
        self.counts: Counter[Metric] = Counter()
        self.metrics = metrics_of("batch")
        self._context, self._account = context, context.account
        self._time_left = time_left
        self._began = False
        self._batches: dict[str, Batch | None] = {}
        self._advanced: set[str] = set()  # batches of which a file was submitted or has ended here
        self._noted: set[str] = set()  # batches whose progress was noted here

    def admit(self, items: Iterable[Item]) -> list[Task]:
        """Find the target of each item; one without a target ends here."""
        tasks = []
        for item in items:
            try:
                target = self._target(item)
                if isinstance(target, ItemEnd):
                    self._count(target.state)
                else:
                    task = _task(item, target, self._account.settings.max_receives)
                    if target.undeclared and not task.loaded:
                        task.loaded = self._context.drops_refused
                    tasks.append(task)
            except Exception as error:
                if is_denied(error) or not self._given_up(item):
                    self._return(item, error)
        return tasks

    def select(self, tasks: Sequence[Task], messages: Iterable[Message]) -> list[Task]:
        """Send back what must not run beside a task that may kill the process, and return the tasks that run."""
        chosen, others = select(tasks)
        shared = {message for task in chosen for message in task.item.messages}
        self._postpone(others)
        apart = [message for message in messages if message.id in self.late - shared]
        self.redeliver |= (unsent := send_back(self._account, apart))
        # A process that is killed acknowledges nothing.
        delete(self._account, [message for message in apart if message.id not in unsent])
        self.late &= shared
        return chosen

    def process(self, group: Sequence[Task]) -> None:
        """Explain a group in as few portions as the time allows; what finds no time is sent back."""
        while group:
            count = self._fitting(group)
            if not count:
                return self._postpone(group)
            self._process(group[:count])
            group = group[count:]
        return None

    def _process(self, group: Sequence[Task]) -> None:
        """Read a group, then explain and commit it, in as few portions as the memory allows."""
        began, done = time.perf_counter(), 0
        with ExitStack() as stack, ThreadPoolExecutor(len(group)) as pool:
            for section in _sections(group):
                stack.enter_context(section)
            loaded = self._run_all(pool, self._load, group)
            for portion in bounded(loaded, self._pixels, self._context.limits.request_pixels, len(group)):
                if not self._has_time(portion):
                    self._postpone(portion)
                    continue
                self._began, done = True, done + len(portion)
                self._run_all(pool, self._settle, self._explain(portion))
        if done:
            self._context.pace.note(group[0].options, (time.perf_counter() - began) / done)

    def _has_time(self, portion: Sequence[Task]) -> bool:
        """Return whether there is time for tasks that have been read."""
        return self._fitting(portion) == len(portion) if self._began else self._time_left() >= MARGIN_S

    def _fitting(self, tasks: Sequence[Task]) -> int:
        """Return how many of some tasks there is time for; the first of an invocation is tried, however slow."""
        left = self._time_left() - MARGIN_S
        if left < 0:
            return 0
        fitting = self._context.pace.fitting(tasks[0].options, len(tasks), left)
        return fitting if self._began else max(1, fitting)

    def collect(self, message: Message, notice: Notice) -> None:
        """Commit an endpoint's response; the sweeper finds what cannot be committed at the last delivery."""
        attempt = notice.attempt
        fields: dict[str, Any] = {"batch": attempt.batch, "number": attempt.number} if attempt else {}
        began, summary = time.perf_counter(), None
        if self._time_left() < MARGIN_S:
            self.late.add(message.id)
            self._count(LATER)
            return self._note_progress(attempt.batch) if attempt else None
        try:
            batch = self._batch(attempt.batch) if attempt else None
            limit = self._context.limits.file_bytes
            end = collect(self._account, batch, notice, max_bytes=limit) if batch else FOREIGN
        except Superseded:
            end = SUPERSEDED
        except Exception as error:
            if is_denied(error):
                self.denied.add(message.id)
                log_failure("notice", error, self.counts, state=DENIED, receives=message.receives, **fields)
                return self._note_progress(attempt.batch) if attempt else None
            end, summary = ItemEnd(AGAIN), error_summary(error)
            if message.receives < self._account.settings.max_receives:
                self.redeliver.add(message.id)
        self._count(end.state)
        if attempt and end.state in PROGRESS:
            self._advanced.add(attempt.batch)
        ms = round((time.perf_counter() - began) * 1000)
        logger.info("notice", state=end.state, code=end.code, ms=ms, error=summary, receives=message.receives, **fields)
        return None

    def finish_batches(self) -> None:
        """Finish the batches that may have received their last result here; the sweeper does it too, later."""
        for batch in self._batches.values():
            if batch and batch.id in self._advanced:
                self._note_progress(batch.id)
            if batch and batch.state is BatchState.RUNNING:
                try:
                    ended = finish_if_done(self._account.jobs, self._account.staging, batch)
                    if ended.state.terminal:
                        self.counts[BATCHES_ENDED[ended.state]] += 1
                except Exception as error:
                    log_failure("unfinished", error, self.counts, batch=batch.id)

    def _note_progress(self, batch_id: str) -> None:
        """Move the deadline of a batch, once in an invocation.

        A message that is sent back waits for as long as the queue keeps it, longer than its upload's first one: the
        batch must not expire until then.
        """
        if batch_id in self._noted:
            return
        self._noted.add(batch_id)
        try:
            if batch := self._batch(batch_id):
                note_progress(self._account.jobs, self._account.settings, batch, int(time.time()))
        except Exception as error:  # the next invocation does it
            logger.warning("deadline", batch=batch_id, error=error_summary(error))

    def _target(self, item: Item) -> Target | ItemEnd:
        key, account = item.created.stored.key, self._account
        if item.created.bucket != account.settings.bucket:
            return FOREIGN
        if is_drop(key, account.settings.suffixes_of_drops):
            return DroppedObject(account.jobs, item, account.settings.drop_row_life_s)
        if not key.startswith(IN):
            return IGNORED
        upload = parse_upload_key(key)
        batch = self._batch(upload.batch) if upload else None
        if upload and batch and upload.lane is batch.lane:
            return DeclaredFile(account.jobs, batch, upload.number)
        if not batch:
            self._wake_purge(item)
        return FOREIGN

    def _wake_purge(self, item: Item) -> None:
        """Have the batch of an upload erased soon, if it was purged: there are new objects of it."""
        if upload := parse_upload_key(item.created.stored.key):
            self._account.jobs.tombstones.wake(upload.batch)

    def _batch(self, batch_id: str) -> Batch | None:
        if batch_id not in self._batches:
            self._batches[batch_id] = self._account.jobs.batch(batch_id)
        return self._batches[batch_id]

    def _load(self, task: Task) -> ItemEnd | None:
        """Read the row, then the bytes, unless the row says that they are not needed."""
        task.began = time.perf_counter()
        if not (expected := task.target.expected()):
            return SETTLED
        if due := task.target.due():
            return self._commit(task, *due)
        if task.loaded:
            return None
        if isinstance(task.target, DeclaredFile) and task.target.remote:
            return self._submit(task, task.target)
        try:
            data = self._account.staging.read(task.item.created.stored, max_bytes=self._context.limits.file_bytes)
        except TooLarge:
            task.loaded = FileTooLarge(
                f"the file is over the limit of {self._context.limits.file_bytes:,} bytes per file"
            )
            return None
        task.sha256 = hashlib.sha256(data).hexdigest()
        task.loaded = Upload("", data)
        if not data:
            task.loaded = EmptyFile("the file is empty")
        elif not expected.matches(len(data), task.sha256):
            task.loaded = WrongDigest("the bytes are not those that were declared")
        return None

    def _submit(self, task: Task, target: DeclaredFile) -> ItemEnd | None:
        try:
            return submit(self._account, task, target, max_bytes=self._context.limits.file_bytes)
        except (InputError, LimitError) as error:
            task.loaded = error
            return None

    def _explain(self, tasks: Sequence[Task]) -> Sequence[Task]:
        try:
            for task, outcome in zip(tasks, self._outcomes(tasks), strict=True):
                task.outcome = outcome
        except Exception as error:
            for task in tasks:
                self._fail(task, error)
            return []
        return tasks

    def _outcomes(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Explain as one batch, or each alone where only the batch costs too much."""
        outcomes = try_together(self._explain_batch, tasks, retry_alone=_is_too_many_passes)
        return [_or_raise(outcome) for outcome in outcomes]

    def _explain_batch(self, tasks: Sequence[Task]) -> list[Outcome]:
        return explain(
            self._context.models[tasks[0].options.model],
            [task.loaded for task in tasks if task.loaded],
            tasks[0].options,
            limits=self._context.limits,
            batch_images=len(tasks),
        )

    def _settle(self, task: Task) -> ItemEnd:
        """Write the results of an item, then commit it."""
        version = task.item.created.stored.identity
        if isinstance(task.outcome, Explanation):
            if task.target.purged():
                return FOREIGN
            explanation, prefix = task.outcome, task.target.prefix(task.attempt)
            model = self._context.models[task.options.model].facts(task.options)
            objects = deliver(self._account.staging, prefix, task.sha256, explanation, model, task.options)
            end = self._commit(task, FileState.OK, record(task.attempt, version, explanation, objects))
            if end is SETTLED and task.target.purged():
                self._wake_purge(task.item)
            return end
        error = task.outcome
        assert isinstance(error, HeatlensError)
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__
        failure: Record = {"version": version, "code": error.code, "detail": error.detail}
        if task.target.undeclared:
            objects = deliver_failure(self._account.staging, task.target.prefix(task.attempt), task.sha256, error)
            failure |= {"attempt": task.attempt, "objects": objects}
        return self._commit(task, FileState.FAILED, failure)

    def _commit(self, task: Task, state: FileState, outcome: Record) -> ItemEnd:
        code = outcome.get("code")
        return ItemEnd(state.value, code) if task.target.commit(state, outcome) else SETTLED

    def _run_all(self, pool: Executor, step: Callable[[Task], ItemEnd | None], tasks: Sequence[Task]) -> list[Task]:
        """Run a step for all tasks at once, report those that end, and return the others."""
        remaining = []
        for task, result in zip(tasks, pool.map(lambda task: _catch(step, task), tasks), strict=True):
            if isinstance(result, Exception):
                self._fail(task, result)
            elif result:
                self._report(task, result)
            else:
                remaining.append(task)
        return remaining

    def _fail(self, task: Task, error: Exception) -> None:
        """Return an item to its queue, or give it up at its last delivery."""
        if isinstance(error, Foreign):
            self._report(task, FOREIGN)
        elif isinstance(error, Absent) and task.target.undeclared and task.item.receives == 1:
            # It may appear yet: the sweeper re-sends a declared file's event, but knows of no drop.
            self._return(task.item, error, task)
        elif isinstance(error, Superseded):
            self._report(task, SUPERSEDED)
        elif is_denied(error) or task.item.receives < self._account.settings.max_receives:
            self._return(task.item, error, task)
        else:
            task.outcome = GaveUp(GAVE_UP)
            try:
                self._report(task, self._settle(task), error_summary(error))
            except Exception as second_error:
                self._return(task.item, second_error, task)

    def _given_up(self, item: Item) -> bool:
        """Fail a declared file whose batch cannot be read, at its last delivery; return whether that was done."""
        upload = parse_upload_key(item.created.stored.key)
        if not upload or item.receives < self._account.settings.max_receives:
            return False
        outcome = {"version": item.created.stored.identity, "code": GaveUp.code, "detail": GAVE_UP}
        try:
            self._account.jobs.settle(upload.batch, upload.number, FileState.FAILED, outcome)
        except Exception as error:
            logger.warning("item", state=AGAIN, error=error_summary(error), receives=item.receives)
            return False
        self._count(FileState.FAILED)
        logger.info("item", state=FileState.FAILED, code=GaveUp.code, batch=upload.batch, number=upload.number)
        return True

    def _return(self, item: Item, error: Exception, task: Task | None = None) -> None:
        fields = {"receives": item.receives} | (task.target.log_fields if task else {})
        if is_denied(error):  # until an operator has repaired that; it is no failure of the file
            self.denied |= item.messages
            log_failure("item", error, self.counts, state=DENIED, **fields)
            if upload := parse_upload_key(item.created.stored.key):
                self._note_progress(upload.batch)
        else:
            self.redeliver |= item.messages
            self._count(AGAIN)
            logger.warning("item", state=AGAIN, error=error_summary(error), **fields)

    def _report(self, task: Task, end: ItemEnd, error: str | None = None) -> None:
        self._count(end.state)
        if isinstance(task.target, DeclaredFile) and end.state in PROGRESS:
            self._advanced.add(task.target.batch.id)
        ms = round((time.perf_counter() - task.began) * 1000)
        fields = task.target.log_fields | {"attempt": task.attempt, "error": error}
        logger.info("item", state=end.state, code=end.code, ms=ms, **fields)
        if end.state == FileState.OK and isinstance(task.outcome, Explanation):
            self._measure(task.options, task.outcome)

    def _measure(self, options: Options, explanation: Explanation) -> None:
        self.metrics.add_stages(explanation.timings_ms)
        self.counts[PIXELS] += explanation.width * explanation.height
        self.counts[PASSES] += make_plan(self._context.models[options.model], options).passes

    def _count(self, state: str) -> None:
        self.counts[ITEMS[state]] += 1

    def _postpone(self, tasks: Sequence[Task]) -> None:
        """Leave tasks to another invocation, which is no failure of theirs."""
        for task in tasks:
            self.late |= task.item.messages
            if isinstance(task.target, DeclaredFile):
                self._note_progress(task.target.batch.id)
            self._count(LATER)
            logger.info("item", state=LATER, receives=task.item.receives, **task.target.log_fields)

    def _pixels(self, task: Task) -> int:
        return count_pixels(task.loaded, self._context.limits.image_pixels) if task.loaded else 0


def _task(item: Item, target: Target, most: int) -> Task:
    """Make an attempt at an item; one that fails so with options that this version cannot do, or after most tries."""
    try:
        # The queue counts the receives of one message: the deliveries before it was sent again are only known here.
        return Task(item, target, target.options, loaded=GaveUp(GAVE_UP) if item.receives > most else None)
    except InvalidOption as error:
        return Task(item, target, Options(), loaded=error)


def _sections(group: Sequence[Task]) -> Iterator[AbstractContextManager[None]]:
    """Make a section of the trace for each batch of a group, which links to the request that opened the batch."""
    numbers: dict[str, list[int]] = {}
    traces: dict[str, str | None] = {}
    for task in group:
        if isinstance(task.target, DeclaredFile):
            numbers.setdefault(task.target.batch.id, []).append(task.target.number)
            traces[task.target.batch.id] = task.target.batch.trace
    for batch, items in numbers.items():
        yield tracing().section("files", link=traces[batch], batch=batch, items=",".join(map(str, items)))


def _is_too_many_passes(error: Exception) -> bool:
    return isinstance(error, TooManyPasses)


def _or_raise(outcome: Outcome | Exception) -> Outcome:
    """Raise what is not the file's own error: another worker's model or memory may do."""
    if isinstance(outcome, ModelUnavailable) or not isinstance(outcome, Explanation | HeatlensError):
        raise outcome
    return outcome


def _catch(step: Callable[[Task], ItemEnd | None], task: Task) -> ItemEnd | Exception | None:
    try:
        return step(task)
    except Exception as error:
        return error

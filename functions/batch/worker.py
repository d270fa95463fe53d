"""Messages -> committed results, group by group; answers which messages are to come again."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from functions.batch.async_collect import collect
from functions.batch.async_submit import submit
from functions.batch.context import WorkerContext
from functions.batch.deliver import deliver, deliver_failure, record
from functions.batch.destinations import DeclaredFile, DroppedObject, Foreign, Target, is_drop
from functions.batch.errors import GaveUp, WrongDigest
from functions.batch.logs import line, metrics, trouble
from functions.batch.messages import Item, Message, items
from functions.batch.tasks import AGAIN, FOREIGN, IGNORED, SETTLED, SUPERSEDED, Ended, Task, bounded, groups
from heatlens.batching import count_pixels
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
from heatlens.results import Explanation, Outcome
from heatlens.types import Options, Upload
from heatlens_aws.batch_table import Outcome as Record
from heatlens_aws.finishing import finish_if_done
from heatlens_aws.object_keys import IN, parse_upload_key
from heatlens_aws.records import Batch, BatchState, FileState
from heatlens_aws.sagemaker_async import Notice
from heatlens_aws.staging import Absent, Superseded, TooLarge

MARGIN_S = 10.0  # beside the time of the slowest group so far: for its commits and the answer
GAVE_UP = "every attempt met a trouble that was not the file's own: repeat it"
FIRST_DELAY_S, LONGEST_DELAY_S = 10, 900


class OutOfTime(Exception):
    """The invocation would be killed before this is done."""


def work(door: WorkerContext, received: Sequence[Message], time_left: Callable[[], float]) -> set[str]:
    """Explain what the messages speak of, and commit each group before the next is read.

    Args:
        door: The tools.
        received: Messages; several may speak of one object.
        time_left: Seconds until the invocation is killed.

    Returns:
        Ids of the messages that speak of an object which is not done.
    """
    shift = _Shift(door, time_left)
    shift.again |= {message.id for message in received if message.objects is None}
    for group in groups(shift.admit(items(received)), door.limits, door.batch_images):
        shift.do(group)
    for message in received:
        if message.notice:
            shift.collect(message, message.notice)
    shift.finish()
    _delay(door, [message for message in received if message.id in shift.again])
    metrics(shift.counts)
    return shift.again


class _Shift:
    """One invocation; what it gathers ends with it."""

    def __init__(self, door: WorkerContext, time_left: Callable[[], float]) -> None:
        self.again: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._door, self._account = door, door.account
        self._time_left = time_left
        self._slowest = 0.0
        self._batches: dict[str, Batch | None] = {}

    def admit(self, found: Iterable[Item]) -> list[Task]:
        """Find the target of each item; what has none ends here."""
        tasks = []
        for item in found:
            try:
                target = self._target(item)
                if isinstance(target, Ended):
                    self._count(target.state)
                else:
                    tasks.append(_task(item, target))
            except Exception as error:
                if not self._given_up(item):
                    self._return(item, error)
        return tasks

    def do(self, group: Sequence[Task]) -> None:
        """Read a group, then explain and commit it, in as few portions as the memory allows."""
        if self._short(group):
            return
        began = time.perf_counter()
        with ThreadPoolExecutor(len(group)) as pool:
            waiting = self._each(pool, self._load, group)
            for portion in bounded(waiting, self._pixels, self._door.limits.request_pixels, len(group)):
                if not self._short(portion):
                    self._each(pool, self._settle, self._explain(portion))
        self._slowest = max(self._slowest, time.perf_counter() - began)

    def collect(self, message: Message, notice: Notice) -> None:
        """Commit what an endpoint has answered; what cannot be committed at the last delivery the sweeper finds."""
        about = {"batch": notice.attempt.batch, "number": notice.attempt.number} if notice.attempt else {}
        began, known = time.perf_counter(), None
        try:
            if self._time_left() < MARGIN_S:
                raise OutOfTime
            batch = self._batch(notice.attempt.batch) if notice.attempt else None
            limit = self._door.limits.file_bytes
            ended = collect(self._account, batch, notice, max_bytes=limit) if batch else FOREIGN
        except Superseded:
            ended = SUPERSEDED
        except Exception as error:
            ended, known = Ended(AGAIN), trouble(error)
            if message.receives < self._account.settings.max_receives:
                self.again.add(message.id)
        self._count(ended.state)
        ms = round((time.perf_counter() - began) * 1000)
        line("notice", state=ended.state, code=ended.code, ms=ms, trouble=known, receives=message.receives, **about)

    def finish(self) -> None:
        """Finish the batches that may have got their last result here; the sweeper does it too, later."""
        for batch in self._batches.values():
            if batch and batch.state is BatchState.RUNNING:
                try:
                    finish_if_done(self._account.jobs, self._account.staging, batch)
                except Exception as error:
                    line("unfinished", batch=batch.id, trouble=trouble(error))

    def _target(self, item: Item) -> Target | Ended:
        key, account = item.created.stored.key, self._account
        if item.created.bucket != account.settings.bucket:
            return FOREIGN
        if is_drop(key):
            return DroppedObject(account.jobs, item, account.settings.row_life_s)
        if not key.startswith(IN):
            return IGNORED
        named = parse_upload_key(key)
        batch = self._batch(named[0]) if named else None
        return DeclaredFile(account.jobs, batch, named[1]) if named and batch else FOREIGN

    def _batch(self, name: str) -> Batch | None:
        if name not in self._batches:
            self._batches[name] = self._account.jobs.batch(name)
        return self._batches[name]

    def _load(self, task: Task) -> Ended | None:
        """Read the row, then the bytes, unless the row says that nobody needs them."""
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
            data = self._account.staging.read(task.item.created.stored, max_bytes=self._door.limits.file_bytes)
        except TooLarge:
            task.loaded = FileTooLarge(f"the file is over the limit of {self._door.limits.file_bytes:,} bytes per file")
            return None
        task.sha256 = hashlib.sha256(data).hexdigest()
        task.loaded = Upload("", data)
        if not data:
            task.loaded = EmptyFile("the file is empty")
        elif not expected.fits(len(data), task.sha256):
            task.loaded = WrongDigest("the bytes are not those that were declared")
        return None

    def _submit(self, task: Task, target: DeclaredFile) -> Ended | None:
        try:
            return submit(self._account, task, target, max_bytes=self._door.limits.file_bytes)
        except (InputError, LimitError) as error:
            task.loaded = error
            return None

    def _explain(self, tasks: Sequence[Task]) -> Sequence[Task]:
        try:
            for task, outcome in zip(tasks, self._together(tasks), strict=True):
                task.outcome = outcome
        except Exception as error:
            for task in tasks:
                self._trouble(task, error)
            return []
        return tasks

    def _together(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Explain as one, or each alone where only all of them cost too much."""
        try:
            return self._outcomes(tasks)
        except ModelUnavailable:  # another worker's may be whole
            raise
        except HeatlensError as error:
            if len(tasks) > 1 and isinstance(error, TooManyPasses):
                return [outcome for task in tasks for outcome in self._together([task])]
            return [error] * len(tasks)

    def _outcomes(self, tasks: Sequence[Task]) -> list[Outcome]:
        return explain(
            self._door.models[tasks[0].options.model],
            [task.loaded for task in tasks if task.loaded],
            tasks[0].options,
            limits=self._door.limits,
            batch_images=len(tasks),
        )

    def _settle(self, task: Task) -> Ended:
        """Write what was made of an item, then commit it."""
        version = task.item.created.stored.identity
        if isinstance(task.outcome, Explanation):
            seen, prefix = task.outcome, task.target.prefix(task.attempt)
            model = self._door.models[task.options.model].facts(task.options)
            objects = deliver(self._account.staging, prefix, task.sha256, seen, model, task.options)
            ended = self._commit(task, FileState.OK, record(task.attempt, version, seen, objects))
            # Only where the row is gone: a commit whose answer was lost is refused too, and its objects are named.
            if ended is SETTLED and task.target.purged():
                self._account.staging.erase(prefix)
            return ended
        error = task.outcome
        assert isinstance(error, HeatlensError)
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__
        failure: Record = {"version": version, "code": error.code, "detail": error.detail}
        if task.target.undeclared:
            told = deliver_failure(self._account.staging, task.target.prefix(task.attempt), task.sha256, error)
            failure |= {"attempt": task.attempt, "objects": told}
        return self._commit(task, FileState.FAILED, failure)

    def _commit(self, task: Task, state: FileState, outcome: Record) -> Ended:
        code = outcome.get("code")
        return Ended(state.value, code) if task.target.commit(state, outcome) else SETTLED

    def _each(self, pool: Executor, step: Callable[[Task], Ended | None], tasks: Sequence[Task]) -> list[Task]:
        """Take a step with all tasks at once; who goes on is returned, who ends is reported."""
        going_on = []
        for task, ended in zip(tasks, pool.map(lambda task: _tried(step, task), tasks), strict=True):
            if isinstance(ended, Exception):
                self._trouble(task, ended)
            elif ended:
                self._report(task, ended)
            else:
                going_on.append(task)
        return going_on

    def _trouble(self, task: Task, error: Exception) -> None:
        """Send an item back, or give it up where nobody would send it again."""
        if isinstance(error, Foreign):
            self._report(task, FOREIGN)
        elif isinstance(error, Absent) and task.target.undeclared and task.item.receives == 1:
            # Perhaps not yet: a declared file's event would be sent again, of a drop nobody else knows.
            self._return(task.item, error, task)
        elif isinstance(error, Superseded):
            self._report(task, SUPERSEDED)
        elif task.item.receives < self._account.settings.max_receives:
            self._return(task.item, error, task)
        else:
            task.outcome = GaveUp(GAVE_UP)
            try:
                self._report(task, self._settle(task), trouble(error))
            except Exception as another:
                self._return(task.item, another, task)

    def _given_up(self, item: Item) -> bool:
        """Whether a declared file whose batch cannot be read has its end, because nobody would send it again."""
        named = parse_upload_key(item.created.stored.key)
        if not named or item.receives < self._account.settings.max_receives:
            return False
        outcome = {"version": item.created.stored.identity, "code": GaveUp.code, "detail": GAVE_UP}
        try:
            self._account.jobs.settle(*named, FileState.FAILED, outcome)
        except Exception as error:
            line("item", state=AGAIN, trouble=trouble(error), receives=item.receives)
            return False
        self._count(FileState.FAILED)
        line("item", state=FileState.FAILED, code=GaveUp.code, batch=named[0], number=named[1])
        return True

    def _return(self, item: Item, error: Exception, task: Task | None = None) -> None:
        self.again |= item.messages
        self._count(AGAIN)
        about = task.target.about if task else {}
        line("item", state=AGAIN, trouble=trouble(error), receives=item.receives, **about)

    def _report(self, task: Task, ended: Ended, trouble: str | None = None) -> None:
        self._count(ended.state)
        ms = round((time.perf_counter() - task.began) * 1000)
        about = task.target.about | {"attempt": task.attempt, "trouble": trouble}
        line("item", state=ended.state, code=ended.code, ms=ms, **about)

    def _count(self, state: str) -> None:
        self.counts[f"Items{state.title()}"] += 1

    def _short(self, tasks: Sequence[Task]) -> bool:
        """Whether there is no time for these; then they are sent back."""
        if self._time_left() >= MARGIN_S + self._slowest:
            return False
        for task in tasks:
            self._trouble(task, OutOfTime())
        return True

    def _pixels(self, task: Task) -> int:
        return count_pixels(task.loaded, self._door.limits.image_pixels) if task.loaded else 0


def _task(item: Item, target: Target) -> Task:
    """An attempt; where nobody here can do what its options ask for, one that ends as this says."""
    try:
        return Task(item, target, target.options)
    except InvalidOption as error:
        return Task(item, target, Options(), loaded=error)


def _tried(step: Callable[[Task], Ended | None], task: Task) -> Ended | Exception | None:
    try:
        return step(task)
    except Exception as error:
        return error


def _delay(door: WorkerContext, returned: Sequence[Message]) -> None:
    """Let messages that come again wait longer each time; one that cannot be told so waits as its queue does."""
    queue = door.account.settings.queue_url
    for message in returned:
        if queue and message.receipt:
            wait = min(FIRST_DELAY_S * 2 ** (message.receives - 1), LONGEST_DELAY_S)
            try:
                door.account.sqs.change_message_visibility(
                    QueueUrl=queue, ReceiptHandle=message.receipt, VisibilityTimeout=wait
                )
            except Exception as error:
                line("undelayed", trouble=trouble(error))

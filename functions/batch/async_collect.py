"""What an endpoint answered for an attempt -> the attempt's objects and the file's end."""

from pydantic import ValidationError

from functions.batch.async_response import EndpointResponse, Failure
from functions.batch.async_submit import check
from functions.batch.context import Account
from functions.batch.deliver import deliver, record
from functions.batch.destinations import DeclaredFile
from functions.batch.errors import AsyncFailed
from functions.batch.tasks import AGAIN_LATER, FOREIGN, SETTLED, Ended
from heatlens.errors import InputError, LimitError, ModelUnavailable
from heatlens.settings import MIB
from heatlens_aws.batch_table import Outcome
from heatlens_aws.errors import Busy, Stopping
from heatlens_aws.object_keys import ASYNC, upload_key
from heatlens_aws.records import Batch, File, FileState
from heatlens_aws.sagemaker_async import Attempt, Notice, answer_key
from heatlens_aws.staging import Found, Stored, Superseded, TooLarge

ANSWER_BYTES = 512 * MIB  # JSON of 100 megapixels that no PNG makes smaller
LATE = 200  # files of a batch looked after in one sweep: they take seconds, and other batches wait
PROBLEM_BYTES = MIB
# What the endpoint says of itself and not of an image. The sweeper finds a file that waits again, some times.
PASSING = {Busy.code, Stopping.code, ModelUnavailable.code}
FAILED = "the endpoint failed: its log says why"
_DETAIL_LETTERS = 200  # a row has room for no more


def collect(account: Account, batch: Batch, notice: Notice, *, max_bytes: int) -> Ended:
    """Give a file the end that a notice tells of, if it has none; one that was only turned away waits again.

    Raises:
        Superseded: The answer, or the image it is of, is no longer there.
    """
    attempt = notice.attempt
    file = account.jobs.file(batch.id, attempt.number) if attempt else None
    if attempt is None or file is None:
        return FOREIGN
    target = DeclaredFile(account.jobs, batch, file.number)
    if file.state.terminal:
        return SETTLED
    if due := target.due():
        return _commit(target, *due)
    key = _place(account, notice, attempt, file)
    if notice.completed:
        return FOREIGN if key is None else _complete(account, target, file, attempt, key, max_bytes)
    # Of two attempts one may fail by accident: as long as the row waits for another, its failure is no end.
    if file.outcome.get("attempt", attempt.id) != attempt.id:
        return SETTLED
    code, detail = _failure(account, key)
    if code in PASSING:
        # A row that knows of no attempt, because its worker died before it could write it, waits as it is.
        if file.state is FileState.SUBMITTED:
            account.jobs.withdraw(file)
        return AGAIN_LATER
    if code != AsyncFailed.code and (wrong := _wrong(account, file, _held(account, file), max_bytes)):
        return _commit(target, FileState.FAILED, wrong)
    return _fail(target, file, code, detail)


def collect_lost(account: Account, batch: Batch, now: int, *, max_bytes: int) -> int:
    """Look for answers whose notices must have been lost, and fail what SageMaker has given up.

    Returns:
        How many files had waited too long.
    """
    patience = account.settings.async_timeout_s + account.settings.async_ttl_s
    late = 0
    for file in account.jobs.files(batch):
        if late == LATE:
            break
        if file.state is FileState.SUBMITTED and now > file.outcome["at"] + patience:
            late += 1
            _collect_late(account, batch, file, max_bytes)
    return late


def _collect_late(account: Account, batch: Batch, file: File, max_bytes: int) -> None:
    attempt = Attempt(batch.id, file.number, file.outcome["attempt"])
    for completed, location in ((True, file.outcome["output"]), (False, file.outcome["failure"])):
        try:
            key = answer_key(location, account.settings.bucket)
            if key is not None and account.staging.look(key):
                collect(account, batch, Notice(attempt, completed, location), max_bytes=max_bytes)
                return
        except Superseded:
            continue
    _fail(DeclaredFile(account.jobs, batch, file.number), file, AsyncFailed.code, "no answer came in time")


def _place(account: Account, notice: Notice, attempt: Attempt, file: File) -> str | None:
    """Key of what the notice speaks of, where that is this attempt's own and nobody else's.

    It is what SageMaker said when it was asked; of an attempt that the row does not know, because its worker died
    before it could write it, it is what lies in the attempt's own folder.
    """
    names = "output" if notice.completed else "failure"
    noted = file.outcome.get(names) if file.outcome.get("attempt") == attempt.id else None
    location = notice.location or noted or ""
    key = answer_key(location, account.settings.bucket)
    if key is None or location == noted or key.startswith(f"{ASYNC}{attempt.folder}/"):
        return key
    return None


def _complete(account: Account, target: DeclaredFile, file: File, attempt: Attempt, key: str, max_bytes: int) -> Ended:
    try:
        answer = EndpointResponse.model_validate_json(account.staging.read(Stored(key), max_bytes=ANSWER_BYTES))
        seen = answer.explanation(target.options)
    except (ValueError, TooLarge):
        return _fail(target, file, AsyncFailed.code, "the endpoint's answer cannot be used")
    found = _held(account, file)
    if wrong := _wrong(account, file, found, max_bytes):
        return _commit(target, FileState.FAILED, wrong)
    prefix, model = target.prefix(attempt.id), answer.model.model_dump()
    objects = deliver(account.staging, prefix, file.sha256, seen, model, target.options)
    ended = _commit(target, FileState.OK, record(attempt.id, found.stored.identity, seen, objects))
    if ended is SETTLED and target.purged():
        account.staging.erase(prefix)
    return ended


def _held(account: Account, file: File) -> Found:
    """What the key holds now. SageMaker reads a key, not a version: it counts if this still is what was declared."""
    return account.staging.look(upload_key(file.batch, file.number))


def _wrong(account: Account, file: File, found: Found, max_bytes: int) -> Outcome | None:
    """The verdict on bytes that were not declared, which names them and not those that were handed over."""
    try:
        check(account.staging, found, file, max_bytes=max_bytes)
    except (InputError, LimitError) as error:
        return {"version": found.stored.identity, "code": error.code, "detail": error.detail}
    return None


def _failure(account: Account, key: str | None) -> tuple[str, str]:
    """Code and sentence of a failure: the container's own, if it said them."""
    try:
        body = account.staging.read(Stored(key), max_bytes=PROBLEM_BYTES) if key else b""
        failure = Failure.model_validate_json(body)
    except (ValidationError, Superseded, TooLarge):
        return AsyncFailed.code, FAILED
    return failure.code, failure.detail[:_DETAIL_LETTERS]


def _fail(target: DeclaredFile, file: File, code: str, detail: str) -> Ended:
    version = {"version": file.outcome["version"]} if "version" in file.outcome else {}
    return _commit(target, FileState.FAILED, version | {"code": code, "detail": detail})


def _commit(target: DeclaredFile, state: FileState, outcome: Outcome) -> Ended:
    return Ended(state.value, outcome.get("code")) if target.commit(state, outcome) else SETTLED

"""Commit the responses of an asynchronous endpoint as the results of declared files."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from pydantic import ValidationError

from functions.batch.async_response import EndpointResponse, Failure
from functions.batch.async_submit import check
from functions.batch.context import Account
from functions.batch.deliver import deliver, record
from functions.batch.destinations import DeclaredFile
from functions.batch.errors import AsyncFailed
from functions.batch.logs import logger
from functions.batch.tasks import FOREIGN, PENDING, SETTLED, ItemEnd
from heatlens.errors import InputError, LimitError, ModelUnavailable
from heatlens.settings import MIB
from heatlens_aws.batch_table import Outcome
from heatlens_aws.errors import Busy, Stopping
from heatlens_aws.object_keys import ASYNC
from heatlens_aws.records import Batch, File, FileState
from heatlens_aws.sagemaker_async import Attempt, Notice, response_key
from heatlens_aws.staging import Found, Stored, Superseded, TooLarge

RESPONSE_BYTES = 512 * MIB  # JSON of 100 megapixels that no PNG makes smaller
LATE_FILES = 200  # of a batch in one sweep: they take seconds, and other batches wait
PROBLEM_BYTES = MIB
# Errors of the endpoint, not of an image. The sweeper submits such a file again, a few times.
RETRYABLE = {Busy.code, Stopping.code, ModelUnavailable.code}
FAILED = "the endpoint failed: its log says why"
_DETAIL_LETTERS = 200  # the room in a row


def collect(account: Account, batch: Batch, notice: Notice, *, max_bytes: int) -> ItemEnd:
    """End a file as a notice says, unless it has ended; one that was only turned away is pending again.

    Raises:
        Superseded: The response, or the image, is no longer there.
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
    key = _response_key(account, notice, attempt, file)
    if notice.completed:
        return FOREIGN if key is None else _complete(account, target, file, attempt, key, max_bytes)
    # One of two attempts may fail by accident: while the row waits for the other, that does not end the file.
    if file.outcome.get("attempt", attempt.id) != attempt.id:
        return SETTLED
    code, detail = _failure(account, key)
    if code in RETRYABLE:
        # A row without an attempt, because its worker died before writing it, is pending already.
        if file.state is FileState.SUBMITTED:
            account.jobs.withdraw(file)
        return PENDING
    if code != AsyncFailed.code and (mismatch := _mismatch(account, file, _current(account, target), max_bytes)):
        return _commit(target, FileState.FAILED, mismatch)
    return _fail(target, file, code, detail)


def collect_lost(
    account: Account, batch: Batch, now: int, open_files: Iterable[File], *, max_bytes: int
) -> Counter[str]:
    """Find responses whose notices must have been lost, and fail the files that SageMaker has given up.

    Args:
        account: Table, bucket and endpoint.
        batch: As read.
        now: Seconds since 1970.
        open_files: The batch's files that were open a moment ago.
        max_bytes: Largest file.

    Returns:
        The files that had waited too long, by what became of them.
    """
    patience = account.settings.async_timeout_s + account.settings.async_ttl_s
    late = (file for file in open_files if file.state is FileState.SUBMITTED and now > file.outcome["at"] + patience)
    ends: Counter[str] = Counter()
    for file in islice(late, LATE_FILES):
        end = _collect_late(account, batch, file, max_bytes)
        logger.info("notice", state=end.state, code=end.code, batch=batch.id, number=file.number, lost=True)
        ends[end.state] += 1
    return ends


def _collect_late(account: Account, batch: Batch, file: File, max_bytes: int) -> ItemEnd:
    attempt = Attempt(batch.id, file.number, file.outcome["attempt"])
    for completed, location in ((True, file.outcome["output"]), (False, file.outcome["failure"])):
        try:
            key = response_key(location, account.settings.bucket)
            if key is not None and account.staging.look(key):
                return collect(account, batch, Notice(attempt, completed, location), max_bytes=max_bytes)
        except Superseded:
            continue
    target = DeclaredFile(account.jobs, batch, file.number)
    return _fail(target, file, AsyncFailed.code, "no response came in time")


def _response_key(account: Account, notice: Notice, attempt: Attempt, file: File) -> str | None:
    """Return the key of the object that a notice names, if it belongs to this attempt.

    It is the location that SageMaker returned when it was invoked. For an attempt that the row does not have, because
    its worker died before writing it, it is an object in the attempt's own folder.
    """
    field = "output" if notice.completed else "failure"
    noted = file.outcome.get(field) if file.outcome.get("attempt") == attempt.id else None
    location = notice.location or noted or ""
    key = response_key(location, account.settings.bucket)
    if key is None or location == noted or key.startswith(f"{ASYNC}{attempt.folder}/"):
        return key
    return None


def _complete(
    account: Account, target: DeclaredFile, file: File, attempt: Attempt, key: str, max_bytes: int
) -> ItemEnd:
    try:
        response = EndpointResponse.model_validate_json(account.staging.read(Stored(key), max_bytes=RESPONSE_BYTES))
        explanation = response.explanation(target.options)
    except (ValueError, TooLarge):
        return _fail(target, file, AsyncFailed.code, "the endpoint's response cannot be used")
    current = _current(account, target)
    if mismatch := _mismatch(account, file, current, max_bytes):
        return _commit(target, FileState.FAILED, mismatch)
    if target.purged():
        account.jobs.tombstones.wake(file.batch)
        return FOREIGN
    prefix, model = target.prefix(attempt.id), response.model.model_dump()
    objects = deliver(account.staging, prefix, file.sha256, explanation, model, target.options)
    end = _commit(target, FileState.OK, record(attempt.id, current.stored.identity, explanation, objects))
    if end is SETTLED and target.purged():
        account.jobs.tombstones.wake(file.batch)
    return end


def _current(account: Account, target: DeclaredFile) -> Found:
    """Look up what the key holds now: SageMaker reads a key, not a version, so this must still be as declared."""
    return account.staging.look(target.batch.upload_key(target.number))


def _mismatch(account: Account, file: File, found: Found, max_bytes: int) -> Outcome | None:
    """Return the outcome for bytes that are not as declared; it names the version found, not the one submitted."""
    try:
        check(account.staging, found, file, max_bytes=max_bytes)
    except (InputError, LimitError) as error:
        return {"version": found.stored.identity, "code": error.code, "detail": error.detail}
    return None


def _failure(account: Account, key: str | None) -> tuple[str, str]:
    """Return the code and detail of a failure: the container's own, if it wrote them."""
    try:
        body = account.staging.read(Stored(key), max_bytes=PROBLEM_BYTES) if key else b""
        failure = Failure.model_validate_json(body)
    except (ValidationError, Superseded, TooLarge):
        return AsyncFailed.code, FAILED
    return failure.code, failure.detail[:_DETAIL_LETTERS]


def _fail(target: DeclaredFile, file: File, code: str, detail: str) -> ItemEnd:
    version = {"version": file.outcome["version"]} if "version" in file.outcome else {}
    return _commit(target, FileState.FAILED, version | {"code": code, "detail": detail})


def _commit(target: DeclaredFile, state: FileState, outcome: Outcome) -> ItemEnd:
    return ItemEnd(state.value, outcome.get("code")) if target.commit(state, outcome) else SETTLED

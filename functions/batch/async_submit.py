"""Submit an uploaded file to the asynchronous endpoint and note that in its row."""

import hashlib
import time
from dataclasses import replace

from functions.batch.context import Account
from functions.batch.destinations import DeclaredFile, Foreign
from functions.batch.errors import NoEndpoint, WrongDigest
from functions.batch.tasks import SETTLED, SUBMITTED, ItemEnd, Task
from heatlens.errors import EmptyFile, FileTooLarge
from heatlens.options import as_query
from heatlens.types import Include, Options
from heatlens_aws.records import File, FileState
from heatlens_aws.sagemaker_async import Attempt
from heatlens_aws.staging import Found, Staging, Stored, Superseded


def submit(account: Account, task: Task, target: DeclaredFile, *, max_bytes: int) -> ItemEnd:
    """Submit a file to the endpoint, unless that was done.

    A crash between the call and the row leaves the row as it was: the next delivery submits again, which may compute
    twice and commits once.

    Raises:
        Foreign: No batch declares the file, or it was purged.
        NoEndpoint: No endpoint is configured.
        Superseded: The key no longer holds the bytes of the event; the endpoint would read others.
        InputError: The bytes are not as declared.
        FileTooLarge: The file has more than `max_bytes`.
    """
    file = target.jobs.file(target.batch.id, target.number)
    if file is None:
        raise Foreign
    if file.state is not FileState.PENDING:
        return SUBMITTED if file.state is FileState.SUBMITTED else SETTLED
    if target.purged():
        raise Foreign
    if account.endpoint is None:
        raise NoEndpoint
    stored = task.item.created.stored
    found = account.staging.look(stored.key)
    if not _same(found.stored, stored):
        raise Superseded(stored.key)
    check(account.staging, found, file, max_bytes=max_bytes)
    attempt = Attempt(file.batch, file.number, task.attempt)
    location = f"s3://{account.settings.bucket}/{stored.key}"
    places = account.endpoint.invoke(attempt, location, media_type=file.media_type, attributes=attributes(task.options))
    noted = {
        "attempt": attempt.id,
        "version": found.stored.identity,
        "output": places.output,
        "failure": places.failure,
        "at": int(time.time()),
    }
    return SUBMITTED if target.jobs.submit(file.batch, file.number, noted) else SETTLED


def check(staging: Staging, found: Found, file: File, *, max_bytes: int) -> None:
    """Check that an object is as declared, before it is explained.

    The container has neither S3 nor the declaration. S3 computes the digest of what is uploaded through a signed link
    and returns it for a HEAD; only an object that was uploaded another way is read here.

    Raises:
        InputError: It is not as declared.
        FileTooLarge: It has more than `max_bytes`.
    """
    if found.size > max_bytes:
        raise FileTooLarge(f"the file is over the limit of {max_bytes:,} bytes per file")
    if not found.size:
        raise EmptyFile("the file is empty")
    sha256 = found.sha256
    if found.size == file.size and sha256 is None:
        sha256 = hashlib.sha256(staging.read(found.stored, max_bytes=max_bytes)).hexdigest()
    if (found.size, sha256) != (file.size, file.sha256):
        raise WrongDigest("the bytes are not those that were declared")


def attributes(options: Options) -> str:
    """Write options as the endpoint reads them, without those at their default; the map is always included."""
    always: frozenset[Include] = frozenset({"map"})
    return as_query(replace(options, include=always | options.include))


def _same(current: Stored, named: Stored) -> bool:
    """Return whether a key still holds the bytes that an event names."""
    if named.version:
        return current.version == named.version
    return named.etag in (None, current.etag)

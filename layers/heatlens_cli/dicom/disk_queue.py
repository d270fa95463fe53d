"""Keep on disk which instances wait, failed or are done: a file for each, named by its SOP instance UID.

A file is complete or not there, and moves between folders by renaming, so a process may end at any point.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.console import shown
from heatlens_cli.dicom.failures import CannotWatch

WAITING, FAILED, DONE, RECEIVED = "waiting", "failed", "done", "received"
DAMAGED = "the queue's file of this instance is damaged: store the instance again"
_FOLDERS = (WAITING, FAILED, DONE, RECEIVED)
_UID = re.compile(r"[0-9.]{1,64}")  # also those that break a rule of UIDs; never a path
_TEMPORARY = ".new"
_DAY_S = 24 * 60 * 60


class Entry(BaseModel):
    """An instance by its UIDs, and what has been tried; `size` in bytes, times in seconds since 1970.

    `is_received` instances lie in the queue themselves, others in the PACS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    series: str
    instance: str
    queued: float
    size: int = 0
    is_received: bool = False
    due: float = 0
    attempts: int = 0
    reason: str = ""


class DiskQueue:
    """The queue in a folder. One process works on it; others may look, and put back what failed."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._waiting: dict[str, Entry] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folders, lock them for this process, and remove what an earlier one has left half-written.

        Raises:
            CannotWatch: The folder cannot be written, or another process works on it.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in _FOLDERS:
                (self._folder / name).mkdir(exist_ok=True, mode=0o700)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise CannotWatch(f"{shown(error.filename or self._folder)}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CannotWatch(f"{shown(self._folder)}: another process works on this queue") from error
            self._remove_rests()
            yield

    def add(self, entry: Entry, content: bytes | None = None) -> bool:
        """Add an instance that is new here, or that failed; return whether it was. `content` is that of a received one.

        Raises:
            OSError: The disk is full or cannot be written; nothing was added.
        """
        name = entry.instance
        if any((self._folder / state / name).exists() for state in (WAITING, DONE)):
            return False
        if content is not None:
            self._write(RECEIVED, name, content)
            _sync(self._folder / RECEIVED)
        (self._folder / FAILED / name).unlink(missing_ok=True)
        self._write(WAITING, name, _encoded(entry))
        return True

    def sync(self) -> None:
        """Wait until all names of waiting instances are on the disk."""
        _sync(self._folder / WAITING)

    def refresh(self) -> None:
        """Read what was added since, here or by another process."""
        names = set(self._names(WAITING))
        for gone in self._waiting.keys() - names:
            del self._waiting[gone]
        for name in names - self._waiting.keys():
            self._waiting[name] = self._read(WAITING, name) or Entry(
                study="", series="", instance=name, queued=0, reason=DAMAGED
            )

    @property
    def free_bytes(self) -> int:
        """Free bytes of the queue's disk."""
        return shutil.disk_usage(self._folder).free

    @property
    def length(self) -> int:
        """How many instances wait, as of the last refresh."""
        return len(self._waiting)

    def next_due(self) -> Entry | None:
        """Return the instance that may be tried now, was tried least, and waits longest.

        So an instance at which the process has ended lets all others go first.
        """
        now = self._clock()
        due = [entry for entry in self._waiting.values() if entry.due <= now]
        return min(due, key=lambda entry: (entry.attempts, entry.due, entry.queued, entry.instance), default=None)

    def content(self, entry: Entry) -> bytes:
        """Read the file of a received instance.

        Raises:
            OSError: It cannot be read.
        """
        return (self._folder / RECEIVED / entry.instance).read_bytes()

    def update(self, entry: Entry) -> Entry:
        """Write a waiting instance anew, and return it."""
        self._write(WAITING, entry.instance, _encoded(entry))
        self._waiting[entry.instance] = entry
        return entry

    def finish(self, entry: Entry) -> None:
        """Keep only the name of an instance: it is done."""
        done = self._folder / DONE / entry.instance
        (self._folder / WAITING / entry.instance).replace(done)
        os.truncate(done, 0)
        self._forget(entry.instance, RECEIVED, FAILED)

    def fail(self, entry: Entry, reason: str) -> None:
        """Set an instance aside, with the reason."""
        failed = entry.model_copy(update={"reason": reason, "due": self._clock()})
        self._write(FAILED, entry.instance, _encoded(failed))
        self._forget(entry.instance, WAITING)

    def failed(self) -> list[Entry]:
        """Read all that failed, oldest first."""
        entries = [entry for name in self._names(FAILED) if (entry := self._read(FAILED, name))]
        return sorted(entries, key=lambda entry: (entry.due, entry.instance))

    def put_back(self, entry: Entry) -> None:
        """Let an instance that failed wait again, as if it were new."""
        anew = entry.model_copy(update={"reason": "", "due": 0.0, "attempts": 0})
        self._write(FAILED, entry.instance, _encoded(anew))
        (self._folder / FAILED / entry.instance).replace(self._folder / WAITING / entry.instance)

    def count(self, state: str) -> int:
        """Count the instances of a state: `WAITING`, `FAILED` or `DONE`."""
        return sum(1 for _ in self._names(state))

    def forget_older(self, days: float) -> int:
        """Remove the names of what was done, and what failed, longer ago; return how many."""
        until, removed = self._clock() - days * _DAY_S, 0
        for state in (DONE, FAILED):
            for name in list(self._names(state)):
                with suppress(FileNotFoundError):  # put back meanwhile
                    if (self._folder / state / name).stat().st_mtime < until:
                        self._forget(name, state, RECEIVED)
                        removed += 1
        return removed

    def _remove_rests(self) -> None:
        for state in _FOLDERS:
            for path in (self._folder / state).iterdir():
                if path.suffix == _TEMPORARY:
                    path.unlink()
        kept = {*self._names(WAITING), *self._names(FAILED)}
        self._forget_all(RECEIVED, set(self._names(RECEIVED)) - kept)
        for name in set(self._names(FAILED)) & set(self._names(WAITING)):  # ended while one was moved
            self._forget(name, FAILED)

    def _names(self, state: str) -> Iterator[str]:
        try:
            found = os.scandir(self._folder / state)
        except FileNotFoundError:
            return
        with found:
            yield from (each.name for each in found if is_name(each.name))

    def _read(self, state: str, name: str) -> Entry | None:
        try:
            return Entry.model_validate_json((self._folder / state / name).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _write(self, state: str, name: str, content: bytes) -> None:
        with write_atomically(self._folder / state / name, overwrite=True) as file:
            file.write(content)

    def _forget(self, name: str, *states: str) -> None:
        for state in states:
            (self._folder / state / name).unlink(missing_ok=True)
        self._waiting.pop(name, None)

    def _forget_all(self, state: str, names: Iterable[str]) -> None:
        for name in names:
            self._forget(name, state)


def is_name(instance: str) -> bool:
    """Tell whether a UID can be the name of a file of the queue."""
    return _UID.fullmatch(instance) is not None and instance.strip(".") != ""


def _encoded(entry: Entry) -> bytes:
    return entry.model_dump_json().encode()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

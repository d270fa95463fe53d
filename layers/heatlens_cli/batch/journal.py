"""Record what a run has declared, so that an interrupted run can be resumed."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from heatlens.errors import HeatlensError
from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.batch.names import JOURNAL


class BatchFailed(HeatlensError):
    """The batch cannot be run; the message says why and what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DeclaredFile(_Strict):
    """A file as it was declared; an equal stamp means that it has not changed since."""

    name: str
    size: int
    stamp: str
    sha256: str
    number: int


class Part(_Strict):
    """One batch. It has no files until all are declared, and is `sent` once it is closed."""

    batch_id: str
    files: list[DeclaredFile] = []
    sent: bool = False


class Run(_Strict):
    """A run of the command: source, server and options, and its batches; a finished one is kept if files failed."""

    version: Literal[2] = 2
    source: str
    server: str
    options: dict[str, Any]
    parts: list[Part] = []
    finished: bool = False

    def save(self, folder: Path) -> None:
        """Write the journal atomically.

        Raises:
            BatchFailed: The folder cannot be written.
        """
        try:
            with write_atomically(folder / JOURNAL, overwrite=True) as file:
                file.write(self.model_dump_json().encode())
        except OSError as error:
            raise BatchFailed(f"{folder}: {error.strerror}") from error

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read the journal of an earlier run, or return None.

        Raises:
            BatchFailed: The journal cannot be read.
        """
        path = folder / JOURNAL
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BatchFailed(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            raise BatchFailed(f"{path} is damaged, or another version's: remove it to start anew") from error


def begin(folder: Path, wanted: Run, *, anew: bool = False) -> Run:
    """Return the interrupted run of this folder if there is one, else the requested run.

    A finished run is continued for the files that failed, unless it was another one, or is to be made `anew`.

    Raises:
        BatchFailed: The interrupted run has another source, server or options.
    """
    noted = Run.load(folder)
    if noted is None or not (noted.parts or noted.finished):  # nothing is at the server yet
        return wanted
    differs = [
        f"{name} was {was}, is {now}"
        for name, was, now in (
            ("source", noted.source, wanted.source),
            ("url", noted.server, wanted.server),
            ("options", noted.options, wanted.options),
        )
        if was != now
    ]
    if noted.finished and (differs or anew):
        return wanted
    if differs:
        raise BatchFailed(
            f"{folder} has another run that was interrupted ({'; '.join(differs)}): run that one again to finish it, "
            f"name another --out, or remove {folder / JOURNAL} to give it up"
        )
    return noted

"""What the API answers about staged batches, with its own names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from heatlens.types import DicomKind, Familiarity, Quality

BatchState = Literal["open", "running", "succeeded", "partial", "failed", "cancelled", "expired", "purging", "purged"]
FileState = Literal["PENDING", "SUBMITTED", "OK", "FAILED", "CANCELLED", "MISSING"]
Lane = Literal["interactive", "bulk"]
UNENDED = ("open", "running")  # states in which files may still be explained
UNENDED_FILES = ("PENDING", "SUBMITTED")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Files in one batch, files in one declaring call, and bytes of one file."""

    batch_files: int
    call_files: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class BatchCreated:
    """A new batch; it accepts files until it is closed, and expires at its deadline, which progress moves."""

    batch_id: str
    state: BatchState
    lane: Lane
    expected_files: int
    deadline: datetime


@dataclass(frozen=True, slots=True)
class UploadLink:
    """The upload of one file: `PUT` to `url` with exactly these headers."""

    number: int
    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class UploadLinks:
    """Links in the order of the files."""

    files: list[UploadLink]


@dataclass(frozen=True, slots=True)
class MissingLinks:
    """Links for missing files; `next` is the number to continue with."""

    files: list[UploadLink]
    next: int | None


@dataclass(frozen=True, slots=True)
class PurgeProgress:
    """What is left of a purged batch; until `ends`, late uploads and results are erased too."""

    files_left: int
    ends: datetime


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Progress of a batch; `counts` has every state of a file, and `time_left_s` is an estimate."""

    batch_id: str
    state: BatchState
    lane: Lane
    expected_files: int
    declared_files: int
    counts: dict[FileState, int]
    files_per_s: float | None
    time_left_s: int | None
    created: datetime
    deadline: datetime
    retry_of: str | None
    purge: PurgeProgress | None = None

    @property
    def ended(self) -> bool:
        """Whether no file will be explained any more."""
        return self.state not in UNENDED

    @property
    def ended_files(self) -> int:
        """Number of files in a final state."""
        return sum(count for state, count in self.counts.items() if state not in UNENDED_FILES)


@dataclass(frozen=True, slots=True)
class ResultLinks:
    """Signed links to the results of one file; `None` is what the options left out. `dicom` has them by kind."""

    map: str
    result: str
    overlay: str | None = None
    map_image: str | None = None
    dicom: dict[DicomKind, str] | None = None


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file, or its state so far; `code` says why it failed."""

    number: int
    name: str
    state: FileState
    label: str | None
    probability: float | None
    quality: Quality | None
    code: str | None
    links: ResultLinks | None
    familiarity: Familiarity | None = None


@dataclass(frozen=True, slots=True)
class ResultsPage:
    """Files in the order of their numbers; `next` is the number to continue with."""

    results: list[FileResult]
    next: int | None

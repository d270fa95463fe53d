"""Bodies and responses of staged batches."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from heatlens.types import DicomKind, Familiarity, Quality
from heatlens_aws.settings import STAGED_LIMITS
from heatlens_web.schemas.body import Body
from heatlens_web.schemas.options import HeatmapOptions

MAX_PAGE = 200  # results in one response
NAME_BYTES = 255  # of UTF-8: with the rest, a file's row stays under 1 KB

Backend = Literal["lambda", "sagemaker"]
BatchState = Literal["open", "running", "succeeded", "partial", "failed", "cancelled", "expired", "purging", "purged"]
Lane = Literal["interactive", "bulk"]
FileState = Literal["PENDING", "SUBMITTED", "OK", "FAILED", "CANCELLED", "MISSING"]


def _short(name: str) -> str:
    if len(name.encode()) > NAME_BYTES:
        raise ValueError(f"at most {NAME_BYTES} bytes in UTF-8")
    return name


Name = Annotated[str, Field(min_length=1, max_length=NAME_BYTES), AfterValidator(_short)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
# Signed as a header: printable ASCII with single spaces, which no proxy rewrites.
MediaType = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^(image/[!-~]+|application/dicom[!-~]*)( [!-~]+)*$")
]


class BatchCreate(HeatmapOptions, Body):
    """A new batch: how many files will come and how they are explained, or which finished batch to repeat."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"expected_files": 1, "colormap": "hot"}]})

    expected_files: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        None, description="Files that will be declared, at most; few files choose the interactive lane."
    )
    backend: Backend = Field("lambda", description="Who explains: the batch function, or a SageMaker endpoint.")
    retry_of: str | None = Field(None, description="A finished batch whose failures are repeated, with its options.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.expected_files is None and self.retry_of is None:
            raise ValueError("expected_files or retry_of is required")
        if self.retry_of is not None and self.model_fields_set != {"retry_of"}:
            raise ValueError("retry_of repeats a batch with its own options: send nothing beside it")
        return self


class FileDeclaration(Body):
    """One file before its upload; the upload must match it exactly."""

    name: Name
    size: Annotated[int, Field(ge=1, le=STAGED_LIMITS.file_bytes, strict=True, description="Bytes.")]
    sha256: Sha256
    media_type: MediaType


class FilesDeclaration(Body):
    """Some of a batch's files."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"files": [{"name": "scan.png", "size": 10, "sha256": "0" * 64, "media_type": "image/png"}]}]
        }
    )

    files: Annotated[list[FileDeclaration], Field(min_length=1)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class BatchLimits(_Answer):
    """Limits of staged batches."""

    batch_files: int = Field(description="Files in one batch.")
    call_files: int = Field(description="Files in one declaring call.")
    file_bytes: int = Field(description="Bytes of one file.")


class BatchCreated(_Answer):
    """A new batch; it accepts files until it is closed, and expires at its deadline, which progress moves."""

    batch_id: str
    state: BatchState
    lane: Lane = Field(description="The queue of its files: interactive for few files, bulk for many.")
    expected_files: int
    deadline: datetime


class UploadLink(_Answer):
    """The upload of one file: `PUT` to `url` with exactly these headers."""

    number: int
    url: str
    headers: dict[str, str]


class UploadLinks(_Answer):
    """Links in the order of the files."""

    files: list[UploadLink]


class MissingLinks(UploadLinks):
    """Links for missing files; `next` is the number to continue with."""

    next: int | None


class PurgeProgress(_Answer):
    """What is left of a purged batch."""

    files_left: int = Field(description="Files whose rows are not erased yet.")
    ends: datetime = Field(
        description="Until then, late uploads and results are erased too; then the batch is not found."
    )


class BatchStatus(_Answer):
    """Progress of a batch; `counts` has every state of a file, and `time_left_s` is an estimate.

    A batch is `purging` until everything of it was erased once, then `purged`; its counts are 0.
    """

    batch_id: str
    state: BatchState
    lane: Lane
    expected_files: int
    declared_files: int
    counts: dict[FileState, int]
    files_per_s: float | None
    time_left_s: int | None
    created: datetime
    deadline: datetime = Field(description="When the batch expires unless it makes progress, which moves this.")
    retry_of: str | None
    purge: PurgeProgress | None = None


class ResultLinks(_Answer):
    """Signed GET links to the results of one file; an image is null where the options left it out."""

    overlay: str | None
    map_image: str | None = None
    map: str
    result: str
    dicom: dict[DicomKind, str] | None = Field(
        None, description="DICOM objects by kind; null unless the options name some."
    )


class FileResult(_Answer):
    """The result of one file, or its state so far; `code` says why it failed."""

    number: int
    name: str
    state: FileState
    label: str | None
    probability: float | None
    quality: Quality | None
    familiarity: Familiarity | None = None
    code: str | None
    links: ResultLinks | None


class ResultsPage(_Answer):
    """Files in the order of their numbers; `next` is the number to continue with."""

    results: list[FileResult]
    next: int | None

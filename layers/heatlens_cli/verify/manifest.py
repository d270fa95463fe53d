"""Parse `manifest.json` and the documents that it names, as far as they are read."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heatlens.errors import HeatlensError
from heatlens_aws.object_keys import Lane, manifest_key, results_key
from heatlens_web.schemas.batches import FileState


class NoManifest(HeatlensError):
    """The manifest does not exist or cannot be read."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)


class Digested(_Record):
    """An object and its digest (hex)."""

    key: str
    sha256: str


class ManifestFile(_Record):
    """A file and its committed outcome."""

    number: int
    name: str
    sha256: str
    state: FileState
    outcome: dict[str, Any]


class Manifest(_Record):
    """A finished batch."""

    schema_version: Literal[1]
    batch: str = Field(pattern="^[0-9A-HJKMNP-TV-Z]{26}$")
    lane: Annotated[Lane, Field(strict=False)]  # JSON has its value
    model: str
    options: dict[str, Any]
    counts: dict[FileState, int]
    results: Digested
    files: list[ManifestFile]

    @property
    def key(self) -> str:
        """Key of the manifest."""
        return manifest_key(self.batch)

    @property
    def results_key(self) -> str:
        """Key of `results.jsonl`."""
        return results_key(self.batch)

    @classmethod
    def parse(cls, data: bytes, address: str) -> Self:
        """Read a manifest.

        Raises:
            NoManifest: The data is not a manifest of this version.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise NoManifest(f"{address} is not a manifest of a batch: {place} {first['msg']}") from error


class Committed(_Record):
    """A result as the table keeps it."""

    attempt: str = Field(pattern="^[0-9A-HJKMNP-TV-Z]{26}$")
    label: str
    probability: float
    quality: str
    familiarity: dict[str, Any] | None = None
    objects: dict[str, str]


class _Input(_Record):
    sha256: str


class _Prediction(_Record):
    label: str
    probability: float


class _Model(_Record):
    sha256: str


class Document(_Record):
    """`result.json`, which is written before the commit and lists the other objects."""

    input: _Input
    prediction: _Prediction
    quality: str
    familiarity: dict[str, Any] | None = None
    objects: dict[str, str]
    options: dict[str, Any]
    model: _Model

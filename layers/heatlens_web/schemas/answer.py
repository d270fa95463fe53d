"""The base of every response's schema, and what most responses have."""

from pydantic import BaseModel, ConfigDict, Field

FRAME = Field(None, description="The frame, from 1, of a DICOM file that has several; null for others.")
NOTES = Field(None, description="What was assumed to read the file, a sentence each; an empty list if nothing was.")


class Answer(BaseModel):
    """A response or a part of one."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class ModelAnswer(Answer):
    """The model and the computation that made the response."""

    name: str
    version: str
    sha256: str
    layer: str
    method: str
    engine: str
    precision: str
    notice: str
    image: str = Field("", description="Digest of the container image; empty outside a container.")

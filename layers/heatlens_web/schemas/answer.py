"""The base of every response's schema, and what most responses have."""

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """A response or a part of one."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class ModelAnswer(Answer):
    """Which model and computation made the answer."""

    name: str
    version: str
    sha256: str
    layer: str
    method: str
    engine: str
    precision: str
    notice: str
    image: str = Field("", description="Digest of the image that computed; empty where it was none.")

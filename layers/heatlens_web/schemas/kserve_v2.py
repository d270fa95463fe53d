"""Bodies and responses of the Open Inference Protocol, which KServe calls V2."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import FailFast, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from heatlens_web.schemas.answer import Answer
from heatlens_web.schemas.bodies import ImageBody, ImagesBody
from heatlens_web.schemas.body import Body
from heatlens_web.schemas.options import HeatmapOptions

OutputName = Literal[
    "label", "probability", "logit", "probabilities", "saliency_map", "box", "part", "quality", "heatmap"
]
DEFAULT_OUTPUTS: tuple[OutputName, ...] = ("label", "probability", "saliency_map", "box", "part", "quality")
MOST_DIMENSIONS, MOST_OUTPUTS = 2, 100  # of the images' tensor; of a request
_ENVELOPE = {"inputs", "outputs", "id", "parameters"}
_OF_CLIENTS = {"content_type", "headers"}  # that client libraries add; they change nothing here


class InputTensor(Body):
    """The images: base64, one text each."""

    name: str = Field(description="The client's own name; it is not used.")
    shape: Annotated[list[int], FailFast(), Field(max_length=MOST_DIMENSIONS)]
    datatype: Literal["BYTES"]
    parameters: dict[str, Any] | None = Field(None, description="Such as `content_type`; they are not used.")
    data: Annotated[list[str], FailFast(), Field(min_length=1)]

    @field_validator("data", mode="before")
    @classmethod
    def _flat(cls, rows: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
        """The protocol allows `[["a"], ["b"]]` for `["a", "b"]`."""
        if isinstance(rows, list) and rows and all(isinstance(row, list) for row in rows):
            return [each for row in rows for each in row]
        return rows

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if math.prod(self.shape) != len(self.data):
            raise PydanticCustomError("shape", "shape has another number of images than data")
        return self


class RequestedOutput(Body):
    """An output that the response should have."""

    name: OutputName
    parameters: dict[str, Any] | None = Field(None, description="They are not used.")


class InferRequest(HeatmapOptions, ImagesBody):
    """Images as a tensor, the outputs that are wanted, and options as `parameters`."""

    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=MOST_OUTPUTS, fail_fast=True)] | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="Options; beside `inputs` they mean the same.")

    @model_validator(mode="before")
    @classmethod
    def _own_form(cls, values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
        if not isinstance(values, dict) or not isinstance(values.get("parameters"), dict | None):
            return values
        rest = {name: value for name, value in values.items() if name != "parameters"}
        options = {n: value for n, value in (values.get("parameters") or {}).items() if n not in _OF_CLIENTS}
        if taken := _ENVELOPE & options.keys():
            raise PydanticCustomError("unknown_name", "parameters: {name} is no option", {"name": min(taken)})
        return rest | options

    @property
    def wanted(self) -> tuple[OutputName, ...]:
        """The names of the outputs, in the order of the response."""
        return tuple(dict.fromkeys(each.name for each in self.outputs or ())) or DEFAULT_OUTPUTS

    def listed(self) -> Sequence[ImageBody]:
        return [ImageBody(image_base64=text) for text in self.inputs[0].data]


class OutputTensor(Answer):
    """One output for all images; `data` is flat, in row-major order."""

    name: str
    shape: list[int]
    datatype: Literal["BYTES", "FP32", "INT32"]
    parameters: dict[str, str] | None = None
    data: list[str] | list[int] | list[float]


class InferResponse(Answer):
    """The outputs of an inference."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, str]
    outputs: list[OutputTensor]


class TensorMetadata(Answer):
    """An input or an output of a model; -1 stands for any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Answer):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Answer):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class Live(Answer):
    """The server runs."""

    live: Literal[True] = True


class ServerReady(Answer):
    """The server answers requests with its default model."""

    ready: Literal[True] = True

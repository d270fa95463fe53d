"""Bodies and responses of KServe's V1 protocol."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, FailFast, Field, model_validator

from heatlens.types import Prediction
from heatlens_web.schemas.answer import Answer, ModelAnswer
from heatlens_web.schemas.bodies import ImageBody, ImagesBody
from heatlens_web.schemas.body import Body
from heatlens_web.schemas.heatmap import Drawn
from heatlens_web.schemas.image_forms import image_text
from heatlens_web.schemas.options import HeatmapOptions
from heatlens_web.schemas.predict import Scored


class Base64(Body):
    """Bytes in JSON, as TensorFlow Serving and KServe write them."""

    b64: str


class Instance(Body):
    """One image in KServe's form; `image_text` has the others that are read."""

    image_bytes: Base64
    key: str | int | None = Field(None, description="The client's own name of the instance; it is not used.")

    @model_validator(mode="before")
    @classmethod
    def _own_form(cls, value: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
        others = {name: each for name, each in value.items() if name != "key"} if isinstance(value, dict) else value
        text = image_text(others)
        if text is None:
            return value
        key = {"key": value["key"]} if isinstance(value, dict) and "key" in value else {}
        return {"image_bytes": {"b64": text}} | key


class PredictInstances(ImagesBody):
    """Images to classify."""

    instances: Annotated[list[Instance], FailFast(), Field(min_length=1)] = Field(
        validation_alias=AliasChoices("instances", "inputs")
    )
    signature_name: str | None = Field(None, description="Of TensorFlow Serving's clients; it is not used.")

    def listed(self) -> Sequence[ImageBody]:
        return [ImageBody(image_base64=each.image_bytes.b64) for each in self.instances]


class ExplainInstances(HeatmapOptions, PredictInstances):
    """Images to explain, and options."""


class InstancePrediction(Scored):
    """The scores of one instance."""


class InstancePredictions(Answer):
    """The scores of each instance, in their order."""

    predictions: list[InstancePrediction]
    model: ModelAnswer
    request_id: str


class InstanceExplanation(Drawn):
    """The explanation of one instance; null images are those `include` left out."""

    heatmap_base64: str | None
    original_image_base64: str | None


class InstanceExplanations(Answer):
    """Predictions and explanations of the instances, in their order."""

    predictions: list[Prediction]
    explanations: list[InstanceExplanation]
    model: ModelAnswer
    request_id: str


class ModelReady(Answer):
    """A model that is ready."""

    name: str
    ready: Literal[True]


class ModelsList(Answer):
    """Names of the models of this server."""

    models: list[str]

"""JSON body of a SageMaker invocation: the API's, or as clients of other model servers write it."""

from typing import Any

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from heatlens_web.schemas.bodies import HeatmapBody
from heatlens_web.schemas.image_forms import image_text

# Where Hugging Face's, TensorFlow Serving's and TorchServe's clients put the image, or a list of one.
_PLACES = ("inputs", "instances", "data", "body")


class InvocationBody(HeatmapBody):
    """One image, and options beside it or in `parameters`."""

    @model_validator(mode="before")
    @classmethod
    def _own_form(cls, values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
        if not isinstance(values, dict):
            return values
        parameters = values.get("parameters")
        if isinstance(parameters, dict):
            values = {name: value for name, value in values.items() if name != "parameters"} | parameters
        places = [place for place in _PLACES if place in values]
        if len(places) != 1 or "image_base64" in values:
            return values
        rest = {name: value for name, value in values.items() if name not in places}
        return rest | {"image_base64": _the_image(values[places[0]], places[0])}


def _the_image(content: object, place: str) -> str:
    if isinstance(content, list):
        if len(content) != 1:
            raise PydanticCustomError(
                "one_image",
                "{place} has {count} images: send one in each request",
                {"place": place, "count": len(content)},
            )
        content = content[0]
    text = image_text(content)
    if text is None:
        raise PydanticCustomError(
            "no_image", "{place} has no image: write its base64 as a text, or under 'b64'", {"place": place}
        )
    return text

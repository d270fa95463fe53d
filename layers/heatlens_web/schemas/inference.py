"""The wire: what a client may send and what it reads back, under the seed's schema names."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from heatlens.card import Calibration, Parity
from heatlens.evaluate.faithfulness import Faithfulness
from heatlens.evaluate.regions import Regions
from heatlens.explain.attribution import METHOD_NAMES
from heatlens.types import (
    WINDOW_PATTERN,
    Alpha,
    Box,
    Colormap,
    Format,
    Include,
    Options,
    OriginalForm,
    Quality,
    Scale,
    Threshold,
    parse_window,
)


def _split(values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """`include=a,b` and `include=a&include=b` mean the same."""
    if isinstance(values, str):
        values = [values]
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return [name.strip() for value in values for name in value.split(",")]
    return values


def _listed(values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """In JSON one of something may stand without its list."""
    return [values] if isinstance(values, str | int) else values


def _or(*others: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Say of a list what may stand in its place."""

    def extend(schema: dict[str, Any]) -> None:
        listed = {name: schema.pop(name) for name in ("type", "items", "minItems") if name in schema}
        schema["anyOf"] = [listed, *others]

    return extend


_INCLUDES = "|".join(get_args(Include))
_SEVERAL_INCLUDES = {"type": "string", "pattern": rf"^ *({_INCLUDES}) *(, *({_INCLUDES}) *)*$"}


def _with_plus(value: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """In a query a plus that was not escaped is a space, and no method has one in its name."""
    return value.replace(" ", "+") if isinstance(value, str) else value


# A number in JSON is an index, never a label.
Class = str | Annotated[int, Field(strict=True, ge=0)]
# Every engine has these; one may have more.
_METHODS = [{"type": "string", "enum": list(METHOD_NAMES)}, {"type": "string"}]
Method = Annotated[str, BeforeValidator(_with_plus), Field(json_schema_extra={"anyOf": _METHODS})]


def _a_window(text: str) -> str:
    parse_window(text)
    return text


WindowText = Annotated[
    str, AfterValidator(_a_window), Field(json_schema_extra={"pattern": WINDOW_PATTERN, "examples": ["40,400"]})
]


class ModelOptions(BaseModel):
    """Options of every endpoint that asks a model, in the query or as top-level keys of a JSON body."""

    model: str | None = Field(None, description="One of the models that are here, by its name; by default the first.")
    window: WindowText | None = Field(
        None, description="centre,width for DICOM and for greys of more than 8 bits, in place of their own."
    )

    def over(self, weaker: "ModelOptions | None") -> Options:
        """These options where they were given, else those of `weaker` where given there, else the defaults."""
        known = {option.name for option in fields(Options)}
        given = weaker.model_dump(include=weaker.model_fields_set & known) if weaker else {}
        given |= self.model_dump(include=self.model_fields_set & known)
        if "include" in given:
            given["include"] = frozenset(given["include"])
        if "target" in given:
            given["target"] = tuple(given["target"])
        if given.get("window") is not None:
            given["window"] = parse_window(given["window"])
        return Options(**given)


class HeatmapOptions(ModelOptions):
    """Options of the heatmap endpoints."""

    colormap: Colormap = Field("jet", description="Colour scheme of the heatmap.")
    alpha: Alpha = Field(0.4, description="Weight of the heat in the overlay.")
    include: Annotated[list[Include], FailFast(), BeforeValidator(_split), Field(min_length=1)] = Field(
        ["overlay", "original"],
        description="What the answer holds, repeated or separated by commas; `heatmap` is the coloured map alone.",
        json_schema_extra=_or(_SEVERAL_INCLUDES),
    )
    target: Annotated[list[Class], FailFast(), BeforeValidator(_listed)] = Field(
        [],
        description="Classes to explain: labels, indices, or the best as top-1, top-2, …; by default the predicted.",
        json_schema_extra=_or({"type": "string"}, {"type": "integer", "minimum": 0}),
    )
    contrast: Class | None = Field(None, description="A class whose logit is taken from each target's: why not this.")
    method: Method = Field("gradcam", description="CAM method; the models' cards list what their engines have.")
    layer: str | None = Field(None, description="A layer that the model was compiled for; by default its first.")
    scale: Scale = Field("image", description="Each map to its own maximum, or to the calibration set's.")
    threshold: Threshold = Field(0.5, description="Heat as it is drawn, from which on a region is one.")
    eigen_smooth: bool = Field(default=False, description="Project on the first principal component.")
    aug_smooth: bool = Field(default=False, description="Average over the image brighter, darker and mirrored.")
    format: Format = Field("png", description="Of overlay and coloured map; `png` alone is lossless.")
    original: OriginalForm = Field(
        "auto", description="`auto`: the upload itself where it is an upright 8-bit PNG or JPEG, else a PNG."
    )
    strip_original: bool = Field(default=False, description="Take metadata off an original that is the upload itself.")


LISTS = {"include", "target"}  # options that a query may repeat


class ImageBody(BaseModel):
    """One image in JSON; base64 without a `data:` prefix."""

    image_base64: str
    filename: str | None = None


class ImagesBody(ModelOptions):
    """A JSON body: images, and options beside them."""

    def listed(self) -> Sequence[ImageBody]:
        """The images."""
        raise NotImplementedError


class OneImage(ImagesBody, ImageBody):
    """A body with one image in it."""

    def listed(self) -> Sequence[ImageBody]:
        return [self]


class SeveralImages(ImagesBody):
    """A body with any number of images in it."""

    # Stopping at the first wrong one keeps the answer to a million wrong ones small.
    images: Annotated[list[ImageBody], FailFast(), Field(min_length=1)]

    def listed(self) -> Sequence[ImageBody]:
        return self.images


class HeatmapBody(HeatmapOptions, OneImage):
    """JSON form of the single endpoint's body."""


class BatchHeatmapBody(HeatmapOptions, SeveralImages):
    """JSON form of the batch endpoint's body."""


class PredictBody(OneImage):
    """JSON form of a body whose image is to be classified."""


class BatchPredictBody(SeveralImages):
    """JSON form of a body whose images are to be classified."""


class Base64(BaseModel):
    """Bytes in JSON, as TensorFlow Serving and KServe write them."""

    b64: str


class Instance(BaseModel):
    """One image in KServe's form."""

    image_bytes: Base64


class PredictInstances(ImagesBody):
    """Images to be classified."""

    instances: Annotated[list[Instance], FailFast(), Field(min_length=1)] = Field(
        validation_alias=AliasChoices("instances", "inputs")
    )

    def listed(self) -> Sequence[ImageBody]:
        return [ImageBody(image_base64=each.image_bytes.b64) for each in self.instances]


class ExplainInstances(HeatmapOptions, PredictInstances):
    """Images to be explained, and how."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class PredictionAnswer(_Answer):
    """The explained class; `logit` is the differentiated one, `margin` its lead over the next, both in logits."""

    label: str
    index: int
    probability: float
    logit: float
    margin: float


class ExplainedAnswer(_Answer):
    """The class that a picture explains; `contrast` is the label of the one it is contrasted with."""

    label: str
    index: int
    probability: float
    logit: float
    contrast: str | None = None


class ModelAnswer(_Answer):
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


class MapAnswer(_Answer):
    """The signed map before ReLU at the layer's own grid: little-endian float32 in C order, base64."""

    shape: tuple[int, int]
    dtype: Literal["float32"] = "float32"
    order: Literal["C"] = "C"
    data_base64: str
    box: Box


class TargetAnswer(ExplainedAnswer):
    """One of several classes that were asked for; null is what `include` left out."""

    heatmap_base64: str | None = None
    map_image_base64: str | None = None
    quality: Quality
    map: MapAnswer | None = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None


class _Drawn(_Answer):
    """What one explained image has, wherever it appears."""

    map_image_base64: str | None = Field(None, description="The coloured map alone, at the original's size.")
    media_type: str | None = Field(None, description="Of overlay and coloured map.")
    original_media_type: str | None = None
    width: int | None = None
    height: int | None = None
    box: Box | None = Field(None, description="Part of the original the model saw: left, top, right, bottom in pixels.")
    prediction: PredictionAnswer | None = None
    explained: ExplainedAnswer | None = Field(None, description="Whose heatmap, quality and map stand beside it.")
    quality: Quality | None = None
    map: MapAnswer | None = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None
    explanations: list[TargetAnswer] | None = Field(
        None, description="Where several targets were asked for: each, the first being the one that stands beside it."
    )
    timings_ms: dict[str, float] | None = None


class HeatmapResponse(_Drawn):
    """Answer of the single endpoint; null images are those `include` left out."""

    success: Literal[True] = True
    filename: str
    heatmap_base64: str | None
    original_image_base64: str | None
    processing_time_ms: float
    model: ModelAnswer
    request_id: str


class BatchHeatmapItem(_Drawn):
    """One file of a batch; a failed one says why in `error` and in the stable `code`."""

    filename: str
    success: bool
    heatmap_base64: str | None = None
    original_image_base64: str | None = None
    error: str | None = None
    code: str | None = None
    processing_time_ms: float = 0.0


class BatchHeatmapResponse(_Answer):
    """Answer of the batch endpoint, results in the order of the files; `success` means that it was processed."""

    success: Literal[True] = True
    results: list[BatchHeatmapItem]
    total_processing_time_ms: float
    succeeded: int
    failed: int
    model: ModelAnswer
    request_id: str


class ScoreAnswer(_Answer):
    """What the model says of one class."""

    label: str
    index: int
    probability: float
    logit: float


class _Scored(_Answer):
    """What one classified image has, wherever it appears."""

    width: int | None = None
    height: int | None = None
    prediction: PredictionAnswer | None = None
    classes: list[ScoreAnswer] | None = Field(None, description="Every class, in the model's order.")
    timings_ms: dict[str, float] | None = None


class PredictResponse(_Scored):
    """What the model says of one image; nothing is explained."""

    success: Literal[True] = True
    filename: str
    processing_time_ms: float
    model: ModelAnswer
    request_id: str


class BatchPredictItem(_Scored):
    """One file of several; a failed one says why in `error` and in the stable `code`."""

    filename: str
    success: bool
    error: str | None = None
    code: str | None = None
    processing_time_ms: float = 0.0


class BatchPredictResponse(_Answer):
    """What the model says of several images, in the order of the files."""

    success: Literal[True] = True
    results: list[BatchPredictItem]
    total_processing_time_ms: float
    succeeded: int
    failed: int
    model: ModelAnswer
    request_id: str


class InstancePrediction(_Scored):
    """What a model says of one instance."""


class InstancePredictions(_Answer):
    """What a model says of each instance, in their order."""

    predictions: list[InstancePrediction]
    model: ModelAnswer
    request_id: str


class InstanceExplanation(_Drawn):
    """One instance, explained; null images are those `include` left out."""

    heatmap_base64: str | None
    original_image_base64: str | None


class InstanceExplanations(_Answer):
    """Predictions and explanations of the instances, in their order."""

    predictions: list[PredictionAnswer]
    explanations: list[InstanceExplanation]
    model: ModelAnswer
    request_id: str


class ModelReady(_Answer):
    """A model that would answer."""

    name: str
    ready: Literal[True]


class ModelsList(_Answer):
    """Names of the models that are here."""

    models: list[str]


class ModelHealth(_Answer):
    """State of one model; `reason` says why it is not loaded."""

    name: str
    loaded: bool
    version: str | None = None
    reason: str | None = None


class Health(_Answer):
    """State of the door: unhealthy without its default model, degraded without another; `reason` says why."""

    status: Literal["healthy", "degraded", "unhealthy"]
    model_loaded: bool = Field(description="Whether the default model is.")
    gpu_available: bool
    model_version: str | None
    reason: str | None = None
    models: list[ModelHealth] = Field(description="All of them, the default one first.")


class Ready(_Answer):
    """Whether requests that name no model would be answered, and which of the models would."""

    ready: bool
    models: dict[str, bool]


class LayerCard(_Answer):
    """A layer that can be explained at, the proof of its maps, and how its peaks are distributed if that is known."""

    name: str
    shape: tuple[int, int, int] = Field(description="Channels, height and width of its activation.")
    parity: Parity
    calibration: Calibration | None


class ModelCard(_Answer):
    """What a model is; all but its name is null where it is not loaded, and `reason` says why."""

    name: str = Field(description="What `model` calls it here.")
    default: bool
    loaded: bool
    reason: str | None = None
    model: str | None = Field(None, description="What its card calls it.")
    version: str | None = None
    sha256: str | None = None
    notice: str | None = None
    classes: list[str] | None = None
    output: Literal["softmax", "sigmoid", "multilabel"] | None = None
    input: tuple[int, int] | None = Field(None, description="Height and width of what the network sees.")
    layers: list[LayerCard] | None = Field(None, description="The first is the default.")
    methods: list[str] | None = None
    engine: str | None = None
    precision: str | None = None
    evaluation: dict[str, Any] | None = None


class ModelCards(_Answer):
    """The models of this door, the default one first."""

    models: list[ModelCard]


class Problem(_Answer):
    """RFC 9457 problem details; `code` is stable, `errors` is there for 422 only."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, Any]] | None = None

"""The wire: what a client may send and what it reads back, under the seed's schema names."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from heatlens.attribute import METHOD_NAMES
from heatlens.types import Box, Colormap, Include, Options, Quality

Alpha = Annotated[float, Field(ge=0.1, le=0.9, allow_inf_nan=False, description="Weight of the heat in the overlay.")]


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


def _with_plus(value: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """In a query a plus that was not escaped is a space, and no method has one in its name."""
    return value.replace(" ", "+") if isinstance(value, str) else value


# A number in JSON is an index, never a label.
Class = str | Annotated[int, Field(strict=True, ge=0)]
Method = Annotated[str, BeforeValidator(_with_plus), Field(json_schema_extra={"enum": list(METHOD_NAMES)})]


class HeatmapOptions(BaseModel):
    """Options of the heatmap endpoints, in the query or as top-level keys of a JSON body."""

    colormap: Colormap = Field("jet", description="Colour scheme of the heatmap.")
    alpha: Alpha = 0.4
    include: Annotated[list[Include], FailFast(), BeforeValidator(_split), Field(min_length=1)] = Field(
        ["overlay", "original"], description="What the answer holds, repeated or separated by commas."
    )
    target: Annotated[list[Class], FailFast(), BeforeValidator(_listed)] = Field(
        [],
        description="Classes to explain: labels, indices, or the best as top-1, top-2, …; by default the predicted.",
    )
    contrast: Class | None = Field(None, description="A class whose logit is taken from each target's: why not this.")
    method: Method = Field("gradcam", description="CAM method.")
    layer: str | None = Field(None, description="A layer that the model was compiled for; by default its first.")
    eigen_smooth: bool = Field(default=False, description="Project on the first principal component.")
    aug_smooth: bool = Field(default=False, description="Average over the image brighter, darker and mirrored.")

    def over(self, weaker: Self | None) -> Options:
        """These options where they were given, else those of `weaker` where given there, else the defaults."""
        given = weaker.model_dump(include=weaker.model_fields_set) if weaker else {}
        given |= self.model_dump(include=self.model_fields_set)
        known = {name: value for name, value in given.items() if name in HeatmapOptions.model_fields}
        if "include" in known:
            known["include"] = frozenset(known["include"])
        if "target" in known:
            known["target"] = tuple(known["target"])
        return Options(**known)


LISTS = {"include", "target"}  # options that a query may repeat


class ImageBody(BaseModel):
    """One image in JSON; base64 without a `data:` prefix."""

    image_base64: str
    filename: str | None = None


class HeatmapBody(HeatmapOptions, ImageBody):
    """JSON form of the single endpoint's body."""


class BatchHeatmapBody(HeatmapOptions):
    """JSON form of the batch endpoint's body."""

    # Stopping at the first wrong one keeps the answer to a million wrong ones small.
    images: Annotated[list[ImageBody], FailFast(), Field(min_length=1)]


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
    quality: Quality
    map: MapAnswer | None = None


class _Drawn(_Answer):
    """What one explained image has, wherever it appears."""

    media_type: str | None = None
    original_media_type: str | None = None
    width: int | None = None
    height: int | None = None
    box: Box | None = Field(None, description="Part of the original the model saw: left, top, right, bottom in pixels.")
    prediction: PredictionAnswer | None = None
    explained: ExplainedAnswer | None = Field(None, description="Whose heatmap, quality and map stand beside it.")
    quality: Quality | None = None
    map: MapAnswer | None = None
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


class Health(_Answer):
    """State of the door; `reason` says why it is not healthy."""

    status: Literal["healthy", "degraded", "unhealthy"]
    model_loaded: bool
    gpu_available: bool
    model_version: str | None
    reason: str | None = None


class Ready(_Answer):
    """Whether requests would be answered."""

    ready: bool


class Problem(_Answer):
    """RFC 9457 problem details; `code` is stable, `errors` is there for 422 only."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, Any]] | None = None

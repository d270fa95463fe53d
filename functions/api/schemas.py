"""The wire: what a client may send and what it reads back, under the seed's schema names."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field

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
    parse_window,
)


def _split(values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """`include=a,b` and `include=a&include=b` mean the same."""
    if isinstance(values, str):
        values = [values]
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return [name.strip() for value in values for name in value.split(",")]
    return values


def _a_window(text: str) -> str:
    parse_window(text)
    return text


WindowText = Annotated[
    str, AfterValidator(_a_window), Field(json_schema_extra={"pattern": WINDOW_PATTERN, "examples": ["40,400"]})
]


class HeatmapOptions(BaseModel):
    """Options of the heatmap endpoints, in the query or as top-level keys of a JSON body."""

    colormap: Colormap = Field("jet", description="Colour scheme of the heatmap.")
    alpha: Alpha = Field(0.4, description="Weight of the heat in the overlay.")
    include: Annotated[list[Include], FailFast(), BeforeValidator(_split), Field(min_length=1)] = Field(
        ["overlay", "original"],
        description="What the answer holds, repeated or separated by commas; `heatmap` is the coloured map alone.",
    )
    format: Format = Field("png", description="Of overlay and coloured map; `png` alone is lossless.")
    original: OriginalForm = Field(
        "auto", description="`auto`: the upload itself where it is an upright 8-bit PNG or JPEG, else a PNG."
    )
    strip_original: bool = Field(default=False, description="Take metadata off an original that is the upload itself.")
    window: WindowText | None = Field(
        None, description="centre,width for DICOM and for greys of more than 8 bits, in place of their own."
    )

    def over(self, weaker: Self | None) -> Options:
        """These options where they were given, else those of `weaker` where given there, else the defaults."""
        given = weaker.model_dump(include=weaker.model_fields_set) if weaker else {}
        given |= self.model_dump(include=self.model_fields_set)
        known = {name: value for name, value in given.items() if name in HeatmapOptions.model_fields}
        if "include" in known:
            known["include"] = frozenset(known["include"])
        if known.get("window") is not None:
            known["window"] = parse_window(known["window"])
        return Options(**known)


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


class _Drawn(_Answer):
    """What one explained image has, wherever it appears."""

    map_image_base64: str | None = Field(None, description="The coloured map alone, at the original's size.")
    media_type: str | None = Field(None, description="Of overlay and coloured map.")
    original_media_type: str | None = None
    width: int | None = None
    height: int | None = None
    box: Box | None = Field(None, description="Part of the original the model saw: left, top, right, bottom in pixels.")
    prediction: PredictionAnswer | None = None
    quality: Quality | None = None
    map: MapAnswer | None = None
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

"""Responses of the heatmap routes, under the names that the contract fixes."""

from typing import Literal

from pydantic import Field

from heatlens.evaluate.faithfulness import Faithfulness
from heatlens.evaluate.regions import Regions
from heatlens.types import Box, Prediction, Quality
from heatlens_web.schemas.answer import Answer, ModelAnswer


class ExplainedAnswer(Answer):
    """The class that a picture explains; `contrast` is the label of the one it is contrasted with."""

    label: str
    index: int
    probability: float
    logit: float
    contrast: str | None = None


class MapAnswer(Answer):
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


class Drawn(Answer):
    """What one explained image has, wherever it appears."""

    map_image_base64: str | None = Field(None, description="The coloured map alone, at the original's size.")
    media_type: str | None = Field(None, description="Of overlay and coloured map.")
    original_media_type: str | None = None
    width: int | None = None
    height: int | None = None
    box: Box | None = Field(None, description="Part of the original the model saw: left, top, right, bottom in pixels.")
    prediction: Prediction | None = None
    explained: ExplainedAnswer | None = Field(None, description="Whose heatmap, quality and map stand beside it.")
    quality: Quality | None = None
    map: MapAnswer | None = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None
    explanations: list[TargetAnswer] | None = Field(
        None, description="Where several targets were asked for: each, the first being the one that stands beside it."
    )
    timings_ms: dict[str, float] | None = None


class HeatmapResponse(Drawn):
    """Answer of the single endpoint; null images are those `include` left out."""

    success: Literal[True] = True
    filename: str
    heatmap_base64: str | None
    original_image_base64: str | None
    processing_time_ms: float
    model: ModelAnswer
    request_id: str


class BatchHeatmapItem(Drawn):
    """One file of a batch; a failed one says why in `error` and in the stable `code`."""

    filename: str
    success: bool
    heatmap_base64: str | None = None
    original_image_base64: str | None = None
    error: str | None = None
    code: str | None = None
    processing_time_ms: float = 0.0


class BatchHeatmapResponse(Answer):
    """Answer of the batch endpoint, results in the order of the files; `success` means that it was processed."""

    success: Literal[True] = True
    results: list[BatchHeatmapItem]
    total_processing_time_ms: float
    succeeded: int
    failed: int
    model: ModelAnswer
    request_id: str

"""Responses of the heatmap routes, under the names that the contract fixes."""

from typing import Literal

from pydantic import Field

from heatlens.evaluate.faithfulness import Faithfulness
from heatlens.evaluate.regions import Regions
from heatlens.types import Box, DicomKind, Familiarity, Part, Prediction, Quality, Score
from heatlens_web.schemas.answer import FRAME, NOTES, Answer, ModelAnswer

PART = "Part of the map that lies over the box: left, top, right, bottom as shares; null if it has no padding."


class ExplainedAnswer(Answer):
    """The class that a heatmap explains; `contrast` is the label of the class it is contrasted with.

    Of a group of classes `label` has all labels, joined by `|`, `index` is null, `probability` is that any of them
    applies (the largest, where classes do not exclude each other), `logit` the mean that is explained, and `members`
    has each class.
    """

    label: str
    index: int | None
    probability: float
    logit: float
    contrast: str | None = None
    members: list[Score] | None = None


class MapAnswer(Answer):
    """The signed map before ReLU at the layer's own grid: little-endian float32 in C order, base64.

    With `aug_smooth` it is the smoothed heat in 0..1, at the size of the network's input.
    """

    shape: tuple[int, int]
    dtype: Literal["float32"] = "float32"
    order: Literal["C"] = "C"
    data_base64: str
    box: Box
    part: Part | None = Field(None, description=PART)


class DicomAnswer(Answer):
    """One DICOM object, of one explained class: a complete file, Explicit VR Little Endian."""

    kind: DicomKind = Field(description="The kind of object, as `dicom` names it.")
    label: str = Field(description="Name of the explained class.")
    sop_class_uid: str = Field(description="What kind of object it is, in DICOM's words.")
    sop_instance_uid: str = Field(description="Its identifier, the same each time for equal images and options.")
    data_base64: str = Field(description="The file as base64.")


class TargetAnswer(ExplainedAnswer):
    """One of several requested targets; null is what `include` left out."""

    heatmap_base64: str | None = None
    map_image_base64: str | None = None
    quality: Quality
    map: MapAnswer | None = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None


class Drawn(Answer):
    """Fields of one explained image in every response."""

    map_image_base64: str | None = Field(None, description="The colored map alone, at the original's size.")
    media_type: str | None = Field(None, description="Media type of overlay and colored map.")
    original_media_type: str | None = None
    width: int | None = None
    height: int | None = None
    box: Box | None = Field(None, description="Part of the original the model saw: left, top, right, bottom in pixels.")
    part: Part | None = Field(None, description=PART)
    prediction: Prediction | None = None
    explained: ExplainedAnswer | None = Field(None, description="The class of the heatmap, quality and map beside it.")
    quality: Quality | None = None
    familiarity: Familiarity | None = Field(
        None, description="How common the input is among the calibration images; null for cards without a reference."
    )
    map: MapAnswer | None = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None
    explanations: list[TargetAnswer] | None = Field(
        None, description="Every target, if several were requested; the first is the one beside it."
    )
    dicom: list[DicomAnswer] | None = Field(
        None, description="The DICOM objects of each target in turn; null unless `dicom` names some."
    )
    timings_ms: dict[str, float] | None = None
    notes: list[str] | None = NOTES
    frame: int | None = FRAME


class HeatmapResponse(Drawn):
    """Response of the heatmap route; null images are those `include` left out."""

    success: Literal[True] = True
    filename: str
    heatmap_base64: str | None
    original_image_base64: str | None
    processing_time_ms: float
    model: ModelAnswer
    request_id: str


class BatchHeatmapItem(Drawn):
    """One file of a batch; if it failed, `error` and the stable `code` say why."""

    filename: str
    success: bool
    heatmap_base64: str | None = None
    original_image_base64: str | None = None
    error: str | None = None
    code: str | None = None
    processing_time_ms: float = 0.0


class BatchHeatmapResponse(Answer):
    """Response of the heatmap-batch route, results in the order of the files; `success`: the batch was processed."""

    success: Literal[True] = True
    results: list[BatchHeatmapItem]
    total_processing_time_ms: float
    succeeded: int
    failed: int
    model: ModelAnswer
    request_id: str

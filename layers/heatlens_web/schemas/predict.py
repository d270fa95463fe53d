"""Responses of the predict routes."""

from typing import Literal

from pydantic import Field

from heatlens.types import Prediction, Score
from heatlens_web.schemas.answer import Answer, ModelAnswer


class Scored(Answer):
    """What one classified image has, wherever it appears."""

    width: int | None = None
    height: int | None = None
    prediction: Prediction | None = None
    classes: list[Score] | None = Field(None, description="Every class, in the model's order.")
    timings_ms: dict[str, float] | None = None


class PredictResponse(Scored):
    """What the model says of one image; nothing is explained."""

    success: Literal[True] = True
    filename: str
    processing_time_ms: float
    model: ModelAnswer
    request_id: str


class BatchPredictItem(Scored):
    """One file of several; a failed one says why in `error` and in the stable `code`."""

    filename: str
    success: bool
    error: str | None = None
    code: str | None = None
    processing_time_ms: float = 0.0


class BatchPredictResponse(Answer):
    """What the model says of several images, in the order of the files."""

    success: Literal[True] = True
    results: list[BatchPredictItem]
    total_processing_time_ms: float
    succeeded: int
    failed: int
    model: ModelAnswer
    request_id: str

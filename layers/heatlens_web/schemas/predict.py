"""Responses of the predict routes."""

from typing import Literal

from pydantic import Field

from heatlens.types import Familiarity, Prediction, Score
from heatlens_web.schemas.answer import FRAME, NOTES, Answer, ModelAnswer


class Scored(Answer):
    """Fields of one classified image in every response."""

    width: int | None = None
    height: int | None = None
    prediction: Prediction | None = None
    classes: list[Score] | None = Field(None, description="Every class, in the model's order.")
    familiarity: Familiarity | None = Field(
        None, description="How common the input is among the calibration images; null for cards without a reference."
    )
    timings_ms: dict[str, float] | None = None
    notes: list[str] | None = NOTES
    frame: int | None = FRAME


class PredictResponse(Scored):
    """Response of the predict route: the scores of one image, without an explanation."""

    success: Literal[True] = True
    filename: str
    processing_time_ms: float
    model: ModelAnswer
    request_id: str


class BatchPredictItem(Scored):
    """One file of a batch; if it failed, `error` and the stable `code` say why."""

    filename: str
    success: bool
    error: str | None = None
    code: str | None = None
    processing_time_ms: float = 0.0


class BatchPredictResponse(Answer):
    """Response of the predict-batch route, results in the order of the files."""

    success: Literal[True] = True
    results: list[BatchPredictItem]
    total_processing_time_ms: float
    succeeded: int
    failed: int
    model: ModelAnswer
    request_id: str

"""Explanations and scores -> HTTP answers: the seed's JSON, or the overlay's own bytes."""

import base64
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import numpy as np
from fastapi import Response
from pydantic import BaseModel

from heatlens.errors import HeatlensError
from heatlens.explain.targets import parse
from heatlens.model import Model
from heatlens.render.encode import MEDIA_TYPES
from heatlens.results import Explained, Explanation
from heatlens.types import Encoded, Format, Options, Prediction, Scores
from heatlens_web.http_errors import AnswerTooLarge
from heatlens_web.schemas.inference import (
    BatchHeatmapItem,
    BatchHeatmapResponse,
    BatchPredictItem,
    BatchPredictResponse,
    ExplainedAnswer,
    HeatmapResponse,
    InstanceExplanation,
    InstanceExplanations,
    InstancePrediction,
    InstancePredictions,
    MapAnswer,
    ModelAnswer,
    PredictionAnswer,
    PredictResponse,
    ScoreAnswer,
    TargetAnswer,
)
from heatlens_web.settings import ServerLimits

JSON = "application/json"
_WAYS_OUT = (
    "ask for format=jpeg, leave out the original (include=overlay), ask for the map alone (include=map), send fewer or "
    "smaller files, or make a staged batch of them"
)
_ANSWERS: dict[str, Format | None] = dict.fromkeys([JSON, "application/*", "*/*"])
_ANSWERS |= {media_type: form for form, media_type in MEDIA_TYPES.items()}


def wanted_picture(accept: str, form: Format) -> Format | None:
    """How an `Accept` header wants the overlay's own bytes, `image/*` leaving that to the option `format`.

    Returns:
        `None` where it prefers JSON, or what is not served.
    """
    answers = _ANSWERS | {"image/*": form}
    ranges = [_range(part) for part in accept.split(",")]
    known = [(weight, media) for weight, media in ranges if media in answers and weight > 0]
    _, best = max(known, key=lambda each: each[0], default=(0.0, JSON))
    return answers[best]


def _range(part: str) -> tuple[float, str]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
    try:
        return float(weight), media
    except ValueError:
        return 0.0, media


def deliver_picture(explanation: Explanation, model: Model) -> Response:
    """Answer the overlay itself; prediction and model go in headers."""
    assert explanation.overlay is not None, "asked for with the overlay included"
    overlay = explanation.overlay
    headers = {
        "x-heatlens-label": quote(explanation.prediction.label),
        "x-heatlens-explained": quote(explanation.explained[0].label),
        "x-heatlens-probability": f"{explanation.prediction.probability:.6f}",
        "x-heatlens-quality": explanation.quality,
        "x-heatlens-model": model.sha256,
    }
    return Response(overlay.data, media_type=overlay.media_type, headers=headers)


def deliver_one(
    filename: str,
    explanation: Explanation,
    model: Model,
    options: Options,
    *,
    request_id: str,
    elapsed_ms: float,
) -> Response:
    """Answer one image as the seed's `HeatmapResponse`."""
    answer = HeatmapResponse(
        filename=filename,
        processing_time_ms=elapsed_ms,
        model=ModelAnswer(**model.facts(options)),
        request_id=request_id,
        **_drawn(explanation, model, options),
    )
    return _json(answer)


def deliver_many(
    filenames: Sequence[str],
    outcomes: Sequence[Explanation | HeatlensError],
    model: Model,
    options: Options,
    *,
    request_id: str,
    elapsed_ms: float,
) -> Response:
    """Answer a batch as the seed's `BatchHeatmapResponse`, results in the order of the files."""
    results = [_item(name, outcome, model, options) for name, outcome in zip(filenames, outcomes, strict=True)]
    succeeded = sum(item.success for item in results)
    answer = BatchHeatmapResponse(
        results=results,
        total_processing_time_ms=elapsed_ms,
        succeeded=succeeded,
        failed=len(results) - succeeded,
        model=ModelAnswer(**model.facts(options)),
        request_id=request_id,
    )
    return _json(answer)


def deliver_scores(
    filename: str, scores: Scores, model: Model, options: Options, *, request_id: str, elapsed_ms: float
) -> Response:
    """Answer what the model says of one image."""
    answer = PredictResponse(
        filename=filename,
        processing_time_ms=elapsed_ms,
        model=ModelAnswer(**model.facts(options)),
        request_id=request_id,
        **scored(scores),
    )
    return _json(answer)


def deliver_many_scores(
    filenames: Sequence[str],
    outcomes: Sequence[Scores | HeatlensError],
    model: Model,
    options: Options,
    *,
    request_id: str,
    elapsed_ms: float,
) -> Response:
    """Answer what the model says of several images, in the order of the files."""
    results = [_scored_item(name, outcome) for name, outcome in zip(filenames, outcomes, strict=True)]
    succeeded = sum(item.success for item in results)
    answer = BatchPredictResponse(
        results=results,
        total_processing_time_ms=elapsed_ms,
        succeeded=succeeded,
        failed=len(results) - succeeded,
        model=ModelAnswer(**model.facts(options)),
        request_id=request_id,
    )
    return _json(answer)


def deliver_predictions(outcomes: Sequence[Scores], model: Model, options: Options, *, request_id: str) -> Response:
    """Answer what the model says of instances, as KServe's protocol has it."""
    predictions = [InstancePrediction(**scored(each)) for each in outcomes]
    facts = ModelAnswer(**model.facts(options))
    return _json(InstancePredictions(predictions=predictions, model=facts, request_id=request_id))


def deliver_explanations(
    outcomes: Sequence[Explanation], model: Model, options: Options, *, request_id: str
) -> Response:
    """Answer explained instances, as KServe's protocol has it."""
    explanations = [InstanceExplanation(**_drawn(each, model, options)) for each in outcomes]
    answer = InstanceExplanations(
        predictions=[_prediction(each.prediction) for each in outcomes],
        explanations=explanations,
        model=ModelAnswer(**model.facts(options)),
        request_id=request_id,
    )
    return _json(answer)


def carry(response: Response, limits: ServerLimits, keep: Callable[[Response], str] | None) -> Response:
    """Send an answer, or where the door cannot carry it the way to it.

    Args:
        response: The answer.
        limits: The door's.
        keep: Stores an answer and tells its address; `None` where there is nowhere to.

    Raises:
        AnswerTooLarge: There is nowhere to.
    """
    size = carried_bytes(response)
    limit = limits.answer_json_bytes if response.media_type == JSON else limits.answer_binary_bytes
    if limit is None or size <= limit:
        return response
    if keep is None:
        raise AnswerTooLarge(f"the answer has {size:,} bytes, this door carries {limit:,}: {_WAYS_OUT}")
    facts = {name: value for name, value in response.headers.items() if name.startswith("x-heatlens-")}
    return Response(
        status_code=HTTPStatus.SEE_OTHER, headers={"location": keep(response), "cache-control": "no-store"} | facts
    )


def carried_bytes(response: Response) -> int:
    """Bytes of an answer on its way: JSON goes as a text within JSON, where quotes and backslashes are escaped."""
    body = bytes(response.body)
    return len(body) + (body.count(b'"') + body.count(b"\\") if response.media_type == JSON else 0)


def _item(filename: str, outcome: Explanation | HeatlensError, model: Model, options: Options) -> BatchHeatmapItem:
    if isinstance(outcome, HeatlensError):
        return BatchHeatmapItem(filename=filename, success=False, error=outcome.detail, code=outcome.code)
    elapsed_ms = sum(outcome.timings_ms.values())
    drawn = _drawn(outcome, model, options)
    return BatchHeatmapItem(filename=filename, success=True, processing_time_ms=elapsed_ms, **drawn)


def _scored_item(filename: str, outcome: Scores | HeatlensError) -> BatchPredictItem:
    if isinstance(outcome, HeatlensError):
        return BatchPredictItem(filename=filename, success=False, error=outcome.detail, code=outcome.code)
    elapsed_ms = sum(outcome.timings_ms.values())
    return BatchPredictItem(filename=filename, success=True, processing_time_ms=elapsed_ms, **scored(outcome))


def scored(scores: Scores) -> dict[str, Any]:
    """What a classified image has in every answer."""
    return {
        "width": scores.width,
        "height": scores.height,
        "prediction": _prediction(scores.prediction),
        "classes": [
            ScoreAnswer(label=each.label, index=each.index, probability=each.probability, logit=each.logit)
            for each in scores.classes
        ],
        "timings_ms": scores.timings_ms,
    }


def _prediction(seen: Prediction) -> PredictionAnswer:
    return PredictionAnswer(
        label=seen.label, index=seen.index, probability=seen.probability, logit=seen.logit, margin=seen.margin
    )


def _drawn(explanation: Explanation, model: Model, options: Options) -> dict[str, Any]:
    original, derived = explanation.original, explanation.overlay or explanation.map_image
    several = parse(options.target, options.contrast, model.card).several
    return {
        "heatmap_base64": _base64(explanation.overlay),
        "original_image_base64": _base64(original),
        "map_image_base64": _base64(explanation.map_image),
        "media_type": derived.media_type if derived else None,
        "original_media_type": original.media_type if original else None,
        "width": explanation.width,
        "height": explanation.height,
        "box": explanation.box,
        "prediction": _prediction(explanation.prediction),
        "explained": ExplainedAnswer(**_facts(explanation.explained[0])),
        "quality": explanation.quality,
        "map": _map(explanation.explained[0], explanation, options),
        "regions": explanation.explained[0].regions,
        "faithfulness": explanation.explained[0].faithfulness,
        "explanations": [_target(each, explanation, options) for each in explanation.explained] if several else None,
        "timings_ms": explanation.timings_ms,
    }


def _target(explained: Explained, explanation: Explanation, options: Options) -> TargetAnswer:
    return TargetAnswer(
        heatmap_base64=_base64(explained.overlay),
        map_image_base64=_base64(explained.map_image),
        quality=explained.quality,
        map=_map(explained, explanation, options),
        regions=explained.regions,
        faithfulness=explained.faithfulness,
        **_facts(explained),
    )


def _facts(explained: Explained) -> dict[str, Any]:
    return {name: getattr(explained, name) for name in ExplainedAnswer.model_fields}


def _map(explained: Explained, explanation: Explanation, options: Options) -> MapAnswer | None:
    if "map" not in options.include:
        return None
    height, width = explained.signed_map.shape
    data = np.ascontiguousarray(explained.signed_map, dtype="<f4").tobytes()
    return MapAnswer(shape=(height, width), data_base64=base64.b64encode(data).decode("ascii"), box=explanation.box)


def _base64(image: Encoded | None) -> str | None:
    return base64.b64encode(image.data).decode("ascii") if image else None


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json().encode("utf-8"), media_type=JSON)

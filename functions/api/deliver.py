"""Explanations -> HTTP answers: the seed's JSON, or the overlay's own bytes."""

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from fastapi import Response

from functions.api.schemas import (
    BatchHeatmapItem,
    BatchHeatmapResponse,
    HeatmapResponse,
    MapAnswer,
    ModelAnswer,
    PredictionAnswer,
)
from heatlens.errors import AnswerTooLarge, HeatlensError
from heatlens.model import Model
from heatlens.settings import Limits
from heatlens.types import Encoded, Explanation, Options

JSON = "application/json"
PNG = "image/png"
_SMALLER_ANSWERS = (
    "ask for format=jpeg, leave out the original (include=overlay), ask for the map alone (include=map) or for the "
    f"overlay itself (Accept: {PNG}), or send fewer or smaller files"
)
_ANSWERS = {JSON: JSON, "application/*": JSON, "*/*": JSON, PNG: PNG, "image/*": PNG}


def wants_png(accept: str) -> bool:
    """Whether an `Accept` header prefers the overlay's bytes to JSON; what neither serves gets JSON."""
    ranges = [_range(part) for part in accept.split(",")]
    known = [(weight, media) for weight, media in ranges if media in _ANSWERS and weight > 0]
    best = max(known, key=lambda each: each[0], default=(0.0, JSON))
    return _ANSWERS[best[1]] == PNG


def _range(part: str) -> tuple[float, str]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
    try:
        return float(weight), media
    except ValueError:
        return 0.0, media


def deliver_png(explanation: Explanation, model: Model, *, limits: Limits) -> Response:
    """Answer the overlay itself; prediction and model go in headers."""
    assert explanation.overlay is not None, "asked for with the overlay included"
    body = explanation.overlay.data
    _check_size(len(body), limits.answer_binary_bytes, "send a smaller image")
    headers = {
        "x-heatlens-label": quote(explanation.prediction.label),
        "x-heatlens-probability": f"{explanation.prediction.probability:.6f}",
        "x-heatlens-quality": explanation.quality,
        "x-heatlens-model": model.sha256,
    }
    return Response(body, media_type=PNG, headers=headers)


def deliver_one(
    filename: str,
    explanation: Explanation,
    model: Model,
    options: Options,
    *,
    limits: Limits,
    request_id: str,
    elapsed_ms: float,
) -> Response:
    """Answer one image as the seed's `HeatmapResponse`."""
    answer = HeatmapResponse(
        filename=filename,
        processing_time_ms=elapsed_ms,
        model=ModelAnswer(**model.facts),
        request_id=request_id,
        **_drawn(explanation, options),
    )
    return _json(answer.model_dump_json(), limits)


def deliver_many(
    filenames: Sequence[str],
    outcomes: Sequence[Explanation | HeatlensError],
    model: Model,
    options: Options,
    *,
    limits: Limits,
    request_id: str,
    elapsed_ms: float,
) -> Response:
    """Answer a batch as the seed's `BatchHeatmapResponse`, results in the order of the files."""
    results = [_item(name, outcome, options) for name, outcome in zip(filenames, outcomes, strict=True)]
    succeeded = sum(item.success for item in results)
    answer = BatchHeatmapResponse(
        results=results,
        total_processing_time_ms=elapsed_ms,
        succeeded=succeeded,
        failed=len(results) - succeeded,
        model=ModelAnswer(**model.facts),
        request_id=request_id,
    )
    return _json(answer.model_dump_json(), limits)


def _item(filename: str, outcome: Explanation | HeatlensError, options: Options) -> BatchHeatmapItem:
    if isinstance(outcome, HeatlensError):
        return BatchHeatmapItem(filename=filename, success=False, error=outcome.detail, code=outcome.code)
    elapsed_ms = sum(outcome.timings_ms.values())
    return BatchHeatmapItem(filename=filename, success=True, processing_time_ms=elapsed_ms, **_drawn(outcome, options))


def _drawn(explanation: Explanation, options: Options) -> dict[str, Any]:
    original, seen = explanation.original, explanation.prediction
    derived = explanation.overlay or explanation.map_image
    return {
        "heatmap_base64": _base64(explanation.overlay),
        "original_image_base64": _base64(original),
        "map_image_base64": _base64(explanation.map_image),
        "media_type": derived.media_type if derived else None,
        "original_media_type": original.media_type if original else None,
        "width": explanation.width,
        "height": explanation.height,
        "box": explanation.box,
        "prediction": PredictionAnswer(
            label=seen.label,
            index=seen.index,
            probability=seen.probability,
            logit=seen.logit,
            margin=seen.margin,
        ),
        "quality": explanation.quality,
        "map": _map(explanation) if "map" in options.include else None,
        "timings_ms": explanation.timings_ms,
    }


def _map(explanation: Explanation) -> MapAnswer:
    height, width = explanation.signed_map.shape
    data = np.ascontiguousarray(explanation.signed_map, dtype="<f4").tobytes()
    return MapAnswer(shape=(height, width), data_base64=base64.b64encode(data).decode("ascii"), box=explanation.box)


def _base64(image: Encoded | None) -> str | None:
    return base64.b64encode(image.data).decode("ascii") if image else None


def _json(text: str, limits: Limits) -> Response:
    body = text.encode("utf-8")
    _check_size(len(body), limits.answer_json_bytes, _SMALLER_ANSWERS)
    return Response(body, media_type=JSON)


def _check_size(size: int, limit: int | None, ways_out: str) -> None:
    if limit is not None and size > limit:
        raise AnswerTooLarge(f"the answer has {size:,} bytes, this door carries {limit:,}: {ways_out}")

"""Make the HTTP response of explanations and scores: JSON, the overlay's own bytes, or DICOM objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import numpy as np
from fastapi import Response
from pydantic import BaseModel

from heatlens.errors import HeatlensError
from heatlens.explain.targets import parse_targets
from heatlens.model import Model
from heatlens.results import DicomObject, Explained, Explanation
from heatlens.types import Encoded, Options, Scores
from heatlens_web.accept import picture_format, preferred_type
from heatlens_web.base64_values import Base64Values
from heatlens_web.related import DICOM, RELATED, related
from heatlens_web.schemas.answer import ModelAnswer
from heatlens_web.schemas.heatmap import (
    BatchHeatmapItem,
    BatchHeatmapResponse,
    DicomAnswer,
    ExplainedAnswer,
    HeatmapResponse,
    MapAnswer,
    TargetAnswer,
)
from heatlens_web.schemas.kserve import (
    InstanceExplanation,
    InstanceExplanations,
    InstancePrediction,
    InstancePredictions,
)
from heatlens_web.schemas.predict import BatchPredictItem, BatchPredictResponse, PredictResponse
from heatlens_web.upload import JSON

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Results(Generic[Result]):
    """What became of the images of one request, in their order, and what every response says of the request."""

    filenames: Sequence[str]
    outcomes: Sequence[Result | HeatlensError]
    model: Model
    options: Options
    request_id: str
    elapsed_ms: float

    @property
    def model_answer(self) -> ModelAnswer:
        return ModelAnswer(**self.model.facts(self.options))

    def one(self) -> tuple[str, Result]:
        """Return the name and the result of the only image.

        Raises:
            HeatlensError: The image failed.
        """
        [name], [outcome] = self.filenames, self.outcomes
        if isinstance(outcome, HeatlensError):
            raise outcome
        return name, outcome

    def instances(self) -> list[Result]:
        """Return the results of KServe's instances: its protocol has no place for the error of one of them.

        Raises:
            HeatlensError: The first instance that failed, with its index.
        """
        results: list[Result] = []
        for index, outcome in enumerate(self.outcomes):
            if isinstance(outcome, HeatlensError):
                raise type(outcome)(f"instance {index}: {outcome.detail}") from outcome
            results.append(outcome)
        return results


def deliver_one(results: Results[Explanation], *, accept: str) -> Response:
    """Respond with one explained image: the overlay or DICOM objects where `Accept` asks, else `HeatmapResponse`."""
    filename, explanation = results.one()
    if picture_format(accept, results.options.format):
        return _picture(explanation, results.model)
    if (preferred := preferred_type(accept)) in (DICOM, RELATED):
        return _objects(explanation, results.model, several=preferred == RELATED)
    files = Base64Values()
    answer = HeatmapResponse(
        filename=filename,
        processing_time_ms=results.elapsed_ms,
        model=results.model_answer,
        request_id=results.request_id,
        **_drawn(explanation, results.model, results.options, files),
    )
    return _json(answer, files)


def _picture(explanation: Explanation, model: Model) -> Response:
    """Respond with the overlay itself; prediction and model are in headers."""
    assert explanation.overlay is not None, "asked for with the overlay included"
    overlay = explanation.overlay
    return Response(overlay.data, media_type=overlay.media_type, headers=_headers(explanation, model))


def _objects(explanation: Explanation, model: Model, *, several: bool) -> Response:
    """Respond with the DICOM objects: one alone, unless `several` parts are asked for; facts are in headers."""
    objects, headers = [each.data for each in explanation.dicom], _headers(explanation, model)
    if len(objects) == 1 and not several:
        return Response(objects[0], media_type=DICOM, headers=headers)
    body, media_type = related(objects)
    return Response(body, media_type=media_type, headers=headers)


def _headers(explanation: Explanation, model: Model) -> dict[str, str]:
    familiarity = explanation.familiarity
    headers = {
        "x-heatlens-label": quote(explanation.prediction.label),
        "x-heatlens-explained": quote(explanation.explained[0].label),
        "x-heatlens-probability": f"{explanation.prediction.probability:.6f}",
        "x-heatlens-quality": explanation.quality,
        "x-heatlens-familiarity": "unknown" if familiarity is None else f"{familiarity.percentile:g}",
        "x-heatlens-model": model.sha256,
    }
    if explanation.notes:
        headers["x-heatlens-notes"] = quote("; ".join(explanation.notes))
    if explanation.frame:
        headers["x-heatlens-frame"] = str(explanation.frame)
    return headers


def deliver_many(results: Results[Explanation]) -> Response:
    """Respond with a batch as `BatchHeatmapResponse`, in the order of the files."""
    files = Base64Values()
    items = [
        _item(name, outcome, results.model, results.options, files)
        for name, outcome in zip(results.filenames, results.outcomes, strict=True)
    ]
    return _json(BatchHeatmapResponse(results=items, **_batch_facts(items, results)), files)


def deliver_scores(results: Results[Scores]) -> Response:
    """Respond with the scores of one image."""
    filename, scores = results.one()
    answer = PredictResponse(
        filename=filename,
        processing_time_ms=results.elapsed_ms,
        model=results.model_answer,
        request_id=results.request_id,
        **scored(scores),
    )
    return _json(answer)


def deliver_many_scores(results: Results[Scores]) -> Response:
    """Respond with the scores of several images, in the order of the files."""
    items = [_scored_item(name, outcome) for name, outcome in zip(results.filenames, results.outcomes, strict=True)]
    return _json(BatchPredictResponse(results=items, **_batch_facts(items, results)))


def deliver_predictions(results: Results[Scores]) -> Response:
    """Respond with the scores of KServe's instances."""
    answer = InstancePredictions(
        predictions=[InstancePrediction(**scored(scores)) for scores in results.instances()],
        model=results.model_answer,
        request_id=results.request_id,
    )
    return _json(answer)


def deliver_explanations(results: Results[Explanation]) -> Response:
    """Respond with KServe's instances explained."""
    explanations, files = results.instances(), Base64Values()
    answer = InstanceExplanations(
        predictions=[each.prediction for each in explanations],
        explanations=[
            InstanceExplanation(**_drawn(each, results.model, results.options, files)) for each in explanations
        ],
        model=results.model_answer,
        request_id=results.request_id,
    )
    return _json(answer, files)


def _batch_facts(
    items: Sequence[BatchHeatmapItem] | Sequence[BatchPredictItem], results: Results[Any]
) -> dict[str, Any]:
    succeeded = sum(item.success for item in items)
    return {
        "total_processing_time_ms": results.elapsed_ms,
        "succeeded": succeeded,
        "failed": len(items) - succeeded,
        "model": results.model_answer,
        "request_id": results.request_id,
    }


def _item(
    filename: str, outcome: Explanation | HeatlensError, model: Model, options: Options, files: Base64Values
) -> BatchHeatmapItem:
    if isinstance(outcome, HeatlensError):
        return BatchHeatmapItem(filename=filename, success=False, error=outcome.detail, code=outcome.code)
    elapsed_ms = sum(outcome.timings_ms.values())
    drawn = _drawn(outcome, model, options, files)
    return BatchHeatmapItem(filename=filename, success=True, processing_time_ms=elapsed_ms, **drawn)


def _scored_item(filename: str, outcome: Scores | HeatlensError) -> BatchPredictItem:
    if isinstance(outcome, HeatlensError):
        return BatchPredictItem(filename=filename, success=False, error=outcome.detail, code=outcome.code)
    elapsed_ms = sum(outcome.timings_ms.values())
    return BatchPredictItem(filename=filename, success=True, processing_time_ms=elapsed_ms, **scored(outcome))


def scored(scores: Scores) -> dict[str, Any]:
    """Return the fields that a classified image has in every response."""
    return {
        "width": scores.width,
        "height": scores.height,
        "prediction": scores.prediction,
        "classes": list(scores.classes),
        "familiarity": scores.familiarity,
        "timings_ms": scores.timings_ms,
        "notes": list(scores.notes),
        "frame": scores.frame,
    }


def _drawn(explanation: Explanation, model: Model, options: Options, files: Base64Values) -> dict[str, Any]:
    original, derived = explanation.original, explanation.overlay or explanation.map_image
    several = parse_targets(options.target, options.contrast, model.card).several
    targets = [_target(each, explanation, options, files) for each in explanation.explained] if several else None
    return {
        "heatmap_base64": _base64(explanation.overlay, files),
        "original_image_base64": _base64(original, files),
        "map_image_base64": _base64(explanation.map_image, files),
        "media_type": derived.media_type if derived else None,
        "original_media_type": original.media_type if original else None,
        "width": explanation.width,
        "height": explanation.height,
        "box": explanation.box,
        "part": explanation.part,
        "prediction": explanation.prediction,
        "explained": ExplainedAnswer(**_facts(explanation.explained[0])),
        "quality": explanation.quality,
        "familiarity": explanation.familiarity,
        "map": _map(explanation.explained[0], explanation, options, files),
        "regions": explanation.explained[0].regions,
        "faithfulness": explanation.explained[0].faithfulness,
        "explanations": targets,
        "dicom": [_object(each, files) for each in explanation.dicom] if options.dicom else None,
        "timings_ms": explanation.timings_ms,
        "notes": list(explanation.notes),
        "frame": explanation.frame,
    }


def _object(written: DicomObject, files: Base64Values) -> DicomAnswer:
    return DicomAnswer(
        kind=written.kind,
        label=written.label,
        sop_class_uid=written.sop_class_uid,
        sop_instance_uid=written.sop_instance_uid,
        data_base64=files.add(written.data),
    )


def _target(explained: Explained, explanation: Explanation, options: Options, files: Base64Values) -> TargetAnswer:
    return TargetAnswer(
        heatmap_base64=_base64(explained.overlay, files),
        map_image_base64=_base64(explained.map_image, files),
        quality=explained.quality,
        map=_map(explained, explanation, options, files),
        regions=explained.regions,
        faithfulness=explained.faithfulness,
        **_facts(explained),
    )


def _facts(explained: Explained) -> dict[str, Any]:
    return {name: getattr(explained, name) for name in ExplainedAnswer.model_fields}


def _map(explained: Explained, explanation: Explanation, options: Options, files: Base64Values) -> MapAnswer | None:
    if "map" not in options.include:
        return None
    height, width = explained.signed_map.shape
    data = np.ascontiguousarray(explained.signed_map, dtype="<f4").tobytes()
    return MapAnswer(shape=(height, width), data_base64=files.add(data), box=explanation.box, part=explanation.part)


def _base64(image: Encoded | None, files: Base64Values) -> str | None:
    return files.add(image.data) if image else None


def _json(answer: BaseModel, files: Base64Values | None = None) -> Response:
    text = answer.model_dump_json()
    return Response(files.fill(text) if files else text.encode(), media_type=JSON)

"""Write an explanation as an attempt's objects: pictures, DICOM, map.npy, and last result.json, which names them."""

import json
from dataclasses import asdict
from typing import Any

import heatlens
from heatlens.errors import HeatlensError
from heatlens.options import as_json
from heatlens.results import Explanation, npy
from heatlens.types import Options
from heatlens_aws.object_keys import MAP, RESULT, dicom_names, picture_names
from heatlens_aws.staging import Staging

SCHEMA_VERSION = 1
Json = dict[str, Any]


def deliver(
    staging: Staging, prefix: str, sha256: str, explanation: Explanation, model: Json, options: Options
) -> dict[str, str]:
    """Write the results of one image.

    Args:
        staging: The bucket.
        prefix: The attempt's prefix.
        sha256: Of the image as uploaded (hex).
        explanation: Its results.
        model: The `facts` of the model that made them.
        options: As requested.

    Returns:
        The name of every object under the prefix, with its sha256 (hex).
    """
    objects: dict[str, str] = {}
    pictures = {"overlay": explanation.overlay, "heatmap": explanation.map_image}
    for included, name in picture_names(asdict(options)).items():
        picture = pictures[included]
        assert picture is not None, "included by the options"
        objects[name] = staging.write(prefix + name, picture.data, picture.media_type)
    for kind, name in dicom_names(asdict(options)).items():
        [written] = [each for each in explanation.dicom if each.kind == kind]  # a batch explains one class
        objects[name] = staging.write(prefix + name, written.data, "application/dicom")
    objects[MAP] = staging.write(prefix + MAP, npy(explanation.signed_map), "application/octet-stream")
    document = _result(sha256, explanation, model, options) | {"objects": dict(objects)}
    objects[RESULT] = staging.write(prefix + RESULT, _text(document), "application/json")
    return objects


def deliver_failure(staging: Staging, prefix: str, sha256: str, error: HeatlensError) -> dict[str, str]:
    """Write why there is no heatmap of an object; `sha256` is empty where its bytes were not read.

    Returns:
        The one object's name, with its sha256 (hex).
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "input": {"sha256": sha256 or None},
        "error": {"code": error.code, "detail": error.detail},
        "heatlens": heatlens.__version__,
    }
    return {RESULT: staging.write(prefix + RESULT, _text(document), "application/json")}


def record(attempt: str, version: str, explanation: Explanation, objects: dict[str, str]) -> Json:
    """Return what the table keeps of a result: the commit."""
    return {
        "attempt": attempt,
        "version": version,
        "label": explanation.prediction.label,
        "probability": explanation.prediction.probability,
        "quality": explanation.quality,
        "familiarity": _familiarity(explanation),
        "ms": round(sum(explanation.timings_ms.values())),
        "objects": objects,
    }


def _familiarity(explanation: Explanation) -> Json | None:
    return asdict(explanation.familiarity) if explanation.familiarity else None


def _text(document: Json) -> bytes:
    return (json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _result(sha256: str, explanation: Explanation, model: Json, options: Options) -> Json:
    predicted, explained = explanation.prediction, explanation.explained[0]
    requested = as_json(options)
    # The objects show what was written; the original never is.
    for name in ("include", "dicom", "original", "strip_original"):
        del requested[name]
    return {
        "schema_version": SCHEMA_VERSION,
        "input": {"sha256": sha256},
        "width": explanation.width,
        "height": explanation.height,
        "box": list(explanation.box),
        "part": list(explanation.part) if explanation.part else None,
        "prediction": {
            "label": predicted.label,
            "index": predicted.index,
            "probability": predicted.probability,
            "logit": predicted.logit,
            "margin": predicted.margin,
        },
        "explained": {
            "label": explained.label,
            "index": explained.index,
            "probability": explained.probability,
            "logit": explained.logit,
            "contrast": explained.contrast,
            "members": [asdict(member) for member in explained.members] if explained.members else None,
        },
        "quality": explanation.quality,
        "notes": list(explanation.notes),
        "frame": explanation.frame,
        "familiarity": _familiarity(explanation),
        "regions": asdict(explained.regions) if explained.regions else None,
        "faithfulness": asdict(explained.faithfulness) if explained.faithfulness else None,
        "options": requested,
        "model": model,
        "heatlens": heatlens.__version__,
    }

"""The results have the fields of the API's schemas, with the same types; failed items are errors."""

import base64
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter

from heatlens.client import results
from heatlens.client.errors import LimitExceeded
from heatlens.client.results import (
    ExplainedClass,
    HeatmapResult,
    MapAnswer,
    ModelFacts,
    PredictResult,
    SeveralAnswers,
    TargetResult,
)
from heatlens_web.schemas.answer import ModelAnswer
from heatlens_web.schemas.heatmap import (
    BatchHeatmapItem,
    BatchHeatmapResponse,
    ExplainedAnswer,
    HeatmapResponse,
    TargetAnswer,
)
from heatlens_web.schemas.heatmap import MapAnswer as MapSchema
from heatlens_web.schemas.predict import BatchPredictItem, BatchPredictResponse, PredictResponse
from tests.support.images import encoded, noise
from tests.support.shapes import shape

SAME: list[tuple[type, type[BaseModel]]] = [
    (HeatmapResult, HeatmapResponse),
    (TargetResult, TargetAnswer),
    (ExplainedClass, ExplainedAnswer),
    (MapAnswer, MapSchema),
    (ModelFacts, ModelAnswer),
    (PredictResult, PredictResponse),
]


@pytest.mark.parametrize(("result", "schema"), SAME, ids=lambda each: each.__name__)
def test_a_result_has_the_fields_of_the_schema(result: type, schema: type[BaseModel]) -> None:
    assert shape(result) == shape(schema)


@pytest.mark.parametrize("schema", [BatchHeatmapResponse, BatchPredictResponse])
def test_the_envelope_of_several_results(schema: type[BaseModel]) -> None:
    assert shape(SeveralAnswers).keys() == shape(schema).keys()


@pytest.mark.parametrize(
    ("item", "single", "response"),
    [
        (BatchHeatmapItem, HeatmapResponse, BatchHeatmapResponse),
        (BatchPredictItem, PredictResponse, BatchPredictResponse),
    ],
)
def test_an_item_with_its_envelope_is_a_single_answer(
    item: type[BaseModel], single: type[BaseModel], response: type[BaseModel]
) -> None:
    own = item.model_fields.keys() - {"error", "code"}

    assert own | {"model", "request_id"} == single.model_fields.keys()
    assert {"model", "request_id"} <= response.model_fields.keys()


MODEL = dict.fromkeys(("name", "version", "sha256", "layer", "method", "engine", "precision", "notice"), "x")
SCORE = {"label": "a", "index": 0, "probability": 0.75, "logit": 1.5}


def answer(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - of any kind
    numbers = np.array([[1, -2], [3, 4]], "<f4")
    signed_map = {
        "shape": [2, 2],
        "data_base64": base64.b64encode(numbers.tobytes()).decode(),
        "box": [0, 0, 6, 4],
    }
    picture = base64.b64encode(encoded(noise((6, 4)))).decode()
    known = {"filename": "f", "width": 6, "height": 4, "box": [0, 0, 6, 4], "prediction": SCORE | {"margin": 1.0}}
    known |= {"explained": SCORE, "quality": "ok", "timings_ms": {}, "processing_time_ms": 1.0, "success": True}
    return known | {"map": signed_map, "heatmap_base64": picture, "media_type": "image/png"} | more


def result(**more: Any) -> HeatmapResult:  # noqa: ANN401 - of any kind
    given = answer(model=MODEL, request_id="r") | more
    return TypeAdapter(HeatmapResult).validate_python(given)


def test_pictures_and_maps_are_decoded() -> None:
    made = result()

    assert made.overlay.size == (6, 4)
    assert made.png == made.overlay_bytes
    assert made.map.tolist() == [[1, -2], [3, 4]]
    assert made.map.flags.writeable
    assert repr(made) == "<HeatmapResult of f: a 0.7500, map of a ok>"
    assert "base64" not in str(made.to_dict())
    assert made.to_dict()["map"] == [[1, -2], [3, 4]]
    assert made._repr_png_() == made.png


def test_what_the_answer_leaves_out_is_named() -> None:
    empty = result(map=None, heatmap_base64=None)

    for name, word in (
        ("overlay", "overlay"),
        ("map", "map"),
        ("map_image", "heatmap"),
        ("original_bytes", "original"),
    ):
        with pytest.raises(ValueError, match=f"the answer has no {word}: add it to include"):
            getattr(empty, name)
    assert empty._repr_png_() is None


def test_a_field_of_a_newer_server_is_no_error() -> None:
    assert result(of_tomorrow=1).filename == "f"


def test_a_failed_item_is_an_error_with_its_code() -> None:
    failed = {"filename": "b", "success": False, "error": "too large", "code": "limit.file_bytes"}
    several = SeveralAnswers([answer(), failed], MODEL, "r", 1.0, 1, 1)

    first, second = several.outcomes()

    assert isinstance(first, dict)
    assert TypeAdapter(HeatmapResult).validate_python(first).request_id == "r"
    assert isinstance(second, LimitExceeded)
    assert (str(second), second.code, second.request_id) == ("b: too large", "limit.file_bytes", "r")


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.npy", "a.json"])
def test_a_result_is_saved_by_the_suffix(name: str, tmp_path: Any) -> None:  # noqa: ANN401 - a path
    result().save(tmp_path / name)

    begins = {"a.png": b"\x89PNG", "a.webp": b"RIFF", "a.npy": b"\x93NUMPY", "a.json": b"{"}
    assert (tmp_path / name).read_bytes().startswith(begins[name])
    assert results  # the module under test

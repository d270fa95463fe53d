"""Options become a query that the server reads as the same options."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from heatlens.client.images import (
    RequestOptions,
    batch_options,
    heatmap_options,
    image_step,
    images_step,
    predict_options,
)
from heatlens.errors import InvalidOption
from heatlens.options import OptionArguments
from heatlens.types import Options
from heatlens_web.schemas.batches import BatchCreate
from heatlens_web.schemas.options import HeatmapOptions


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ({}, "?include=map,overlay"),
        ({"include": ["original", "overlay"]}, ""),
        ({"include": "map", "target": ("a,b", "top-2", 1)}, "?include=map&target=a,b&target=top-2&target=1"),
        ({"include": "map", "target": [["a", "b"]]}, "?include=map&target=%5B%22a%22,+%22b%22%5D"),
        ({"include": "map", "window": (40, 400)}, "?include=map&window=40.000000000,400.000000000"),
        ({"include": "map", "model": "chest", "strip_original": True}, "?include=map&strip_original=true&model=chest"),
    ],
)
def test_options_are_written_as_a_query(given: RequestOptions, query: str) -> None:
    assert image_step("/heatmap", b"x", heatmap_options(given)).url == f"/heatmap{query}"


def test_every_option_of_the_server_can_be_given() -> None:
    assert set(RequestOptions.__annotations__) | set(OptionArguments.__annotations__) == set(
        HeatmapOptions.model_fields
    )


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"colourmap": "jet"}, TypeError, "did you mean 'colormap'"),
        ({"incldue": "map"}, TypeError, "did you mean 'include'"),
        ({"alpha": 7}, InvalidOption, "alpha is 7"),
        ({"include": "nothing"}, InvalidOption, "include"),
    ],
)
def test_wrong_options_are_found_before_anything_is_sent(given: Any, error: type[Exception], sentence: str) -> None:  # noqa: ANN401 - wrong
    with pytest.raises(error, match=sentence):
        heatmap_options(given)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({}, {"include": ["map", "overlay"]}),
        ({"target": "a", "alpha": 0.5, "scale": "image"}, {"target": ["a"], "alpha": 0.5}),
        (
            {"target": [["a", "b"]], "window": "40,400"},
            {"target": [["a", "b"]], "window": "40.000000000,400.000000000"},
        ),
        ({"model": "chest", "backend": "sagemaker"}, {"model": "chest", "backend": "sagemaker"}),
    ],
)
def test_options_of_a_batch_are_json_that_the_server_reads(given: Any, written: dict[str, Any]) -> None:  # noqa: ANN401 - TypedDict
    options = batch_options(given)

    assert json.loads(json.dumps(options)) == {"include": ["map", "overlay"]} | written
    read = BatchCreate.model_validate_json(json.dumps(options | {"expected_files": 1})).over(None)
    given.pop("backend", None)
    assert read == heatmap_options(given)


def test_a_batch_has_no_original() -> None:
    with pytest.raises(TypeError, match="never stores the original"):
        batch_options({"strip_original": True})  # type: ignore[typeddict-unknown-key]


def test_images_are_files_of_a_form() -> None:
    step = images_step("/predict-batch", [b"one", b"two"], predict_options("chest", "40,400", 3))

    assert step.files == [
        ("files", ("unknown", b"one", "application/octet-stream")),
        ("files", ("unknown", b"two", "application/octet-stream")),
    ]
    assert step.url == "/predict-batch?window=40.000000000,400.000000000&frame=3&model=chest"
    assert TypeAdapter(Options).validate_python({"window": "40,400"}).window == (40, 400)

from typing import Any

import pytest
from pydantic import ValidationError

from heatlens_web.schemas.batches import BatchCreate, FilesDeclaration
from heatlens_web.schemas.bodies import BatchHeatmapBody, BatchPredictBody, HeatmapBody, PredictBody
from heatlens_web.schemas.body import Body
from heatlens_web.schemas.kserve import ExplainInstances, PredictInstances

BODIES = [HeatmapBody, BatchHeatmapBody, PredictBody, BatchPredictBody, BatchCreate, FilesDeclaration,
          PredictInstances, ExplainInstances]  # fmt: skip


def objects(schema: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Return every schema of an object in a JSON schema."""
    if isinstance(schema, list):
        return [each for item in schema for each in objects(item)]
    if not isinstance(schema, dict):
        return []
    inner = [each for item in schema.values() for each in objects(item)]
    return [schema, *inner] if "properties" in schema else inner


@pytest.mark.parametrize("body", BODIES)
def test_every_object_of_a_body_says_that_it_has_no_further_keys(body: type[Body]) -> None:
    described = objects(body.model_json_schema())

    assert described
    assert [each["title"] for each in described if each.get("additionalProperties") is not False] == []


def test_names_are_the_keys_that_are_read() -> None:
    assert PredictInstances.names() == ["model", "window", "frame", "instances", "inputs", "signature_name"]


def test_only_the_first_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError) as refused:
        HeatmapBody.model_validate({"image_base64": "", **{f"key{number}": 1 for number in range(1000)}})

    [error] = refused.value.errors()
    assert (error["type"], error["loc"], error["ctx"]["name"]) == ("unknown_name", (), "key0")

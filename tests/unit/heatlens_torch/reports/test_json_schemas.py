"""The committed JSON schemas are current and accept what the code reads and writes."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from heatlens.card import SCHEMA_VERSION, read_card
from heatlens.settings import DEMO_MODEL
from heatlens_torch.loading.template import template
from heatlens_torch.reports.json_schemas import CARD_SCHEMA, MODEL_SCHEMA, card_schema, model_schema
from tests.support.paths import ROOT

DESCRIPTION = tomllib.loads((ROOT / "layers" / "heatlens_torch" / "demo" / "model.toml").read_text())
CARD = read_card(DEMO_MODEL)[0].model_dump(mode="json")


@pytest.mark.parametrize(("path", "schema"), [(MODEL_SCHEMA, model_schema()), (CARD_SCHEMA, card_schema())])
def test_a_committed_schema_is_current(path: Path, schema: dict[str, Any]) -> None:
    """`python -m heatlens_torch.reports.json_schemas` writes it again."""
    assert path.read_text() == json.dumps(schema, indent=2) + "\n"


@pytest.mark.parametrize(("instance", "schema"), [(DESCRIPTION, model_schema()), (CARD, card_schema())])
def test_a_schema_accepts_valid_and_rejects_invalid_instances(instance: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.validate(instance, schema)
    with pytest.raises(jsonschema.ValidationError, match="color"):
        jsonschema.validate(instance | {"color": "red"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(instance | {"preprocess": {"resize": 8}}, schema)


def test_the_card_schema_has_the_current_version() -> None:
    assert card_schema()["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(CARD | {"schema_version": SCHEMA_VERSION + 1}, card_schema())


def test_a_template_fits_the_schema() -> None:
    jsonschema.validate(tomllib.loads(template("litresnet-enhanced")), model_schema())

"""Write the JSON schemas of `model.toml` and `card.json`: `python -m heatlens_torch.reports.json_schemas`."""

import json
from pathlib import Path
from typing import Any

import heatlens
from heatlens.card import SCHEMA_VERSION, Card
from heatlens_torch.loading.spec import Description

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODEL_SCHEMA = Path(__file__).parents[1] / "model.schema.json"
CARD_SCHEMA = Path(heatlens.__file__).parent / "card.schema.json"


def model_schema() -> dict[str, Any]:
    """Return the schema of a model description."""
    return {"$schema": DIALECT, "$id": "urn:heatlens:model-description"} | Description.model_json_schema()


def card_schema() -> dict[str, Any]:
    """Return the schema of a compiled model's card, in the version that this code writes and reads."""
    return {"$schema": DIALECT, "$id": f"urn:heatlens:card:{SCHEMA_VERSION}"} | Card.model_json_schema()


if __name__ == "__main__":
    for _path, _schema in ((MODEL_SCHEMA, model_schema()), (CARD_SCHEMA, card_schema())):
        _path.write_text(json.dumps(_schema, indent=2) + "\n", encoding="utf-8")

"""The shape of JSON that a type describes, without titles, descriptions, defaults and what may be null."""

from typing import Any

from pydantic import TypeAdapter

_SAID = {"title", "description", "default", "examples", "const", "enum", "additionalProperties"}


def shape(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - any type
    """Return the type of each field, by its name in JSON."""
    schema = TypeAdapter(kind).json_schema(by_alias=True)
    plain = _plain(schema, schema.get("$defs", {}))
    assert isinstance(plain["properties"], dict)
    return plain["properties"]


def _plain(schema: Any, known: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(schema, list):
        return [_plain(each, known) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(known[schema["$ref"].rpartition("/")[2]], known)
    if "anyOf" in schema:
        others = [each for each in schema["anyOf"] if each != {"type": "null"}]
        if len(others) == 1:
            return _plain(others[0], known)
    if "properties" in schema:  # fields named like a word of the schema are none
        return {"properties": {name: _plain(each, known) for name, each in schema["properties"].items()}}
    return {name: _plain(each, known) for name, each in schema.items() if name not in _SAID}

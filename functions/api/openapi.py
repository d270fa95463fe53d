"""What the framework cannot know of bodies that are parsed here, and of errors: said for the description."""

from typing import Any

from pydantic import BaseModel

from functions.api.schemas import Problem

BINARY = {"type": "string", "format": "binary"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}}
    for status in (400, 404, 413, 415, 422, 500, 503)
}


def body_of(field: str, multipart: dict[str, Any], json: type[BaseModel]) -> dict[str, Any]:
    """The three forms of a body with images: a form's field, JSON, or one image alone."""
    form = {"type": "object", "required": [field], "properties": {field: multipart}}
    content = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": inlined(json.model_json_schema())},
        "image/*": {"schema": BINARY},
    }
    return {"requestBody": {"required": True, "content": content}}


def json_body(json: type[BaseModel]) -> dict[str, Any]:
    """A body that is JSON and nothing else."""
    content = {"application/json": {"schema": inlined(json.model_json_schema())}}
    return {"requestBody": {"required": True, "content": content}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A body the framework does not parse is described by hand, where `$defs` of its own would not resolve."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return definitions[node["$ref"].rsplit("/", 1)[1]]
        return {key: resolve(value) for key, value in node.items()}

    found = resolve(schema)
    assert isinstance(found, dict)
    return found

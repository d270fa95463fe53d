"""Describe in OpenAPI what the framework cannot know: bodies that are parsed here, errors and redirects."""

import base64
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from PIL import Image
from pydantic import BaseModel

from heatlens.render.png import png
from heatlens_web.meanings import describe_fields, describe_parameters
from heatlens_web.schemas.bodies import ImagesBody
from heatlens_web.schemas.problem import Problem

Json = dict[str, Any]
BINARY: Json = {"type": "string", "format": "binary"}
PROBLEM = "application/problem+json"
# The image of every example, small enough to be skipped by a reader.
IMAGE_BASE64 = base64.b64encode(png(Image.linear_gradient("L").resize((8, 8)))).decode("ascii")

ABOUT = (
    "Class activation heatmaps of image classifiers. Every error is `application/problem+json` with a stable `code`; "
    '401, 403, 429, 503, 504 and bodies over a gateway\'s own limit may come from the gateway, as `{"message"}`.'
)
_WHEN: dict[int, str] = {
    400: "The body or an image in it cannot be used.",
    401: "The server needs an API key, and the request has none that it knows.",
    403: "The gateway names no principal that a batch could belong to.",
    404: "There is nothing of this name.",
    408: "The body arrived too slowly.",
    409: "The batch's state forbids it.",
    413: "Something is over a limit.",
    415: "The content type is not supported.",
    422: "A value is wrong or a field is missing; `errors` lists each.",
    429: "The principal has as many open batches, or files in flight, as it may; `Retry-After`.",
    500: "The server failed; the cause is in the log.",
    503: "Temporarily unavailable; `Retry-After` says when to retry, where that may help.",
    504: "The request ran out of time.",
}
REDIRECT: dict[int | str, Json] = {
    303: {
        "description": "The response is too large to send: the same bytes are at `Location`, for 15 minutes.",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}, "required": True}},
    }
}


def problem_responses(*statuses: int) -> dict[int | str, Json]:
    """Describe errors of these statuses, and those of every operation."""
    return {status: {"description": _WHEN[status], "content": {PROBLEM: {}}} for status in sorted({*statuses, 500})}


OF_IMAGES = problem_responses(400, 401, 408, 413, 415, 422, 503, 504) | REDIRECT


def body_of(field: str, multipart: Json, json: type[ImagesBody], example: Json) -> Json:
    """Describe a body with images: a form's field with options beside it, JSON, or one image alone."""
    options = inlined(json.options.model_json_schema())["properties"]
    form = {
        "type": "object",
        "required": [field],
        "properties": {field: multipart} | options,
        "additionalProperties": False,
    }
    content = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": inlined(json.model_json_schema()), "example": example},
        "image/*": {"schema": BINARY},
        "application/dicom": {"schema": BINARY},
        "application/octet-stream": {"schema": BINARY},
    }
    return {"requestBody": {"required": True, "content": content}}


def json_body(json: type[BaseModel], example: Json) -> Json:
    """Describe a body that must be JSON."""
    content = {"application/json": {"schema": inlined(json.model_json_schema()), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def inlined(schema: Json) -> Json:
    """Replace references by what they refer to: `$defs` of a hand-written body would not resolve in the description."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rsplit("/", 1)[1]])
        return {key: resolve(value) for key, value in node.items()}

    resolved = resolve(schema)
    assert isinstance(resolved, dict)
    return resolved


def describe(app: FastAPI) -> None:
    """Make the application's OpenAPI description match its responses: every error is a problem."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as the framework's guide has it


def _described(app: FastAPI) -> Json:
    description: Json = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    schemas[Problem.__name__] = Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own, which are never sent
        schemas.pop(name, None)
    describe_fields(schemas)
    for operation in _operations(description):
        describe_parameters(operation)
        # For an invalid path or query the framework describes its own shape; a problem is sent.
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            operation["responses"]["422"] = problem_responses(422)[422]
        for status, response in operation["responses"].items():
            if int(status) >= HTTPStatus.BAD_REQUEST:
                response["content"] = {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return description


def _operations(description: Json) -> Iterator[Json]:
    for methods in description["paths"].values():
        yield from methods.values()

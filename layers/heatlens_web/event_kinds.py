"""Read a Lambda event: check that it is an HTTP request of a known kind, and give it the shape the adapter reads."""

import base64
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

Json = dict[str, Any]
ADDRESS = "heatlens.address"  # key of an event that was read: the gateway's base path, and the path below it
_HOST = re.compile(r"[^:]*(:\d{1,5})?")
_PORT = re.compile(r"\d{1,5}")
_OWN_DOMAIN = ".execute-api."


def _encodable(text: str) -> str:
    text.encode()  # JSON may hold half a surrogate pair
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Values = dict[Text, Text]
Lists = dict[Text, list[Text]]


class UnknownEvent(ValueError):
    """Lambda was invoked with an event that is not a request."""


class _Strict(BaseModel):
    # Deferred: a function gets events of one kind, and builds that kind's schema.
    model_config = ConfigDict(strict=True, defer_build=True)


class _Event(_Strict):
    """What every kind of request has."""

    body: Text | None = None
    is_base64: bool | None = Field(None, alias="isBase64Encoded")

    def adapted(self, event: Json) -> Json:
        """Return the event as the adapter reads it, with its address."""
        body = (self.body or "").encode()
        decoded = {"body": base64.b64decode(body) if self.is_base64 else body, "isBase64Encoded": False}
        return event | decoded | {ADDRESS: self.address()}

    def address(self) -> tuple[str, str]:
        """Return the base path that the gateway puts before every path, as the client sees it, and the path below."""
        raise NotImplementedError


class _Http(_Strict):
    method: Text
    path: Text


class _HttpContext(_Strict):
    http: _Http
    stage: Text | None = None
    domain: Text | None = Field(None, alias="domainName")


class _HttpApi(_Event):
    """An HTTP API with payload 2.0, or a function URL."""

    version: Literal["2.0"]
    context: _HttpContext = Field(alias="requestContext")
    query: Text | None = Field(None, alias="rawQueryString")
    headers: Values | None = None
    cookies: list[Text] | None = None

    def adapted(self, event: Json) -> Json:
        http = {"method": self.context.http.method, "path": self.context.http.path, "sourceIp": ""}
        return super().adapted(event) | {
            "requestContext": event["requestContext"] | {"http": http},
            "rawQueryString": self.query or "",
            "headers": _headers(self.headers),
            "cookies": self.cookies,
        }

    def address(self) -> tuple[str, str]:
        # The path begins with a named stage on a custom domain too, where the client's address lacks it.
        base, path = _split(self.context.http.path, self.context.stage)
        return (base if _OWN_DOMAIN in (self.context.domain or _OWN_DOMAIN) else ""), unquote(path)


class _RestContext(_Strict):
    path: Text | None = None
    stage: Text | None = None
    identity: dict[str, Any] | None = None


class _RestApi(_Event):
    """A REST API, or an HTTP API with payload 1.0."""

    version: Literal["1.0"] | None = None
    context: _RestContext = Field(alias="requestContext")
    method: Text = Field(alias="httpMethod")
    path: Text
    resource: Text
    headers: Values | None = None
    header_lists: Lists | None = Field(None, alias="multiValueHeaders")
    query: Values | None = Field(None, alias="queryStringParameters")
    query_lists: Lists | None = Field(None, alias="multiValueQueryStringParameters")
    parameters: Values | None = Field(None, alias="pathParameters")

    def adapted(self, event: Json) -> Json:
        return super().adapted(event) | {
            "version": "1.0",
            "requestContext": event["requestContext"] | {"identity": self.context.identity or {}},
            "headers": _headers(self.headers),
            "multiValueHeaders": _headers(self.header_lists),
            "queryStringParameters": self.query,
            "multiValueQueryStringParameters": self.query_lists,
        }

    def address(self) -> tuple[str, str]:
        # What stands before the resource is a stage, a mapping of a custom domain, or both.
        whole, below = self.context.path or self.path, self._below()
        for end in (below, f"{below}/", below.rstrip("/")):
            if whole.endswith(end):
                return whole[: len(whole) - len(end)], unquote(end)
        base, path = _split(self.path, self.context.stage)
        return base, unquote(path)

    def _below(self) -> str:
        """Return the resource with the request's values in place of its parameters."""
        parameters = self.parameters or {}
        return re.sub(r"\{([^}+]+)\+?\}", lambda match: parameters.get(match[1], match[0]), self.resource)


class _LoadBalancer(_Event):
    """An Application Load Balancer, with or without multi-value headers."""

    method: Text = Field(alias="httpMethod")
    path: Text
    headers: Values | None = None
    header_lists: Lists | None = Field(None, alias="multiValueHeaders")
    query: Values | None = Field(None, alias="queryStringParameters")
    query_lists: Lists | None = Field(None, alias="multiValueQueryStringParameters")

    def adapted(self, event: Json) -> Json:
        adapted = super().adapted(event) | {"headers": _headers(self.headers)}
        adapted["queryStringParameters"] = self.query_lists or self.query
        adapted.pop("multiValueQueryStringParameters", None)
        # The response has multi-value headers exactly where the request has them.
        adapted.pop("multiValueHeaders", None)
        if self.header_lists is not None:
            adapted["multiValueHeaders"] = _headers(self.header_lists)
        return adapted

    def address(self) -> tuple[str, str]:
        return "", unquote(self.path)


class _LatticeContext(_Strict):
    identity: dict[str, Any] | None = None


class _Lattice(_Event):
    """VPC Lattice, event version 2; adapted to an event of an HTTP API."""

    context: _LatticeContext = Field(alias="requestContext")
    method: Text
    path: Text
    headers: dict[Text, Text | list[Text]] | None = None
    query: dict[Text, Text | list[Text]] | None = Field(None, alias="queryStringParameters")

    def adapted(self, event: Json) -> Json:
        lists = {name: [value] if isinstance(value, str) else value for name, value in (self.headers or {}).items()}
        http = {"method": self.method, "path": self.path, "sourceIp": ""}
        query = urlencode(self.query, doseq=True) if self.query else self.path.partition("?")[2]
        return super().adapted(event) | {
            "requestContext": {"http": http} | self._caller(),
            "rawQueryString": query,
            "headers": _headers({name: ", ".join(values) for name, values in lists.items()}),
            "cookies": None,
        }

    def address(self) -> tuple[str, str]:
        return "", unquote(self.path.partition("?")[0])

    def _caller(self) -> Json:
        """Return who the service has verified, as the other gateways report it."""
        identity = self.context.identity or {}
        if isinstance(identity.get("principal"), str):
            return {"authorizer": {"iam": {"userArn": identity["principal"]}}}
        return {"authorizer": {"lattice": identity["type"]}} if identity.get("type") else {}


def _split(path: str, stage: str | None) -> tuple[str, str]:
    """Split a path that begins with a named stage."""
    base = f"/{stage}"
    if stage and stage != "$default" and (path == base or path.startswith(f"{base}/")):
        return base, path.removeprefix(base)
    return "", path


def _headers(headers: dict[str, Any] | None) -> dict[str, Any]:
    """Remove a host and a port that the adapter cannot read; clients write them, and nothing here reads them."""
    readable = {"host": _HOST, "x-forwarded-port": _PORT}
    return {
        name: value
        for name, value in (headers or {}).items()
        if (pattern := readable.get(name.lower())) is None or all(map(pattern.fullmatch, _listed(value)))
    }


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# The name of each kind, its model, and what tells it from the others: the event and its `requestContext`.
KINDS: dict[str, tuple[type[_Event], Callable[[Json, Json], bool]]] = {
    "Application Load Balancer": (_LoadBalancer, lambda event, context: "elb" in context),
    "HTTP API (payload 2.0) or function URL": (
        _HttpApi,
        lambda event, context: event.get("version") == "2.0" and "http" in context,
    ),
    "REST API (payload 1.0)": (_RestApi, lambda event, context: "resource" in event),
    "VPC Lattice (event version 2.0)": (
        _Lattice,
        lambda event, context: event.get("version") == "2.0" and "serviceNetworkArn" in context,
    ),
}


def read_event(event: object) -> Json:
    """Return the event of a request as the adapter reads it, with its address under `ADDRESS`.

    Raises:
        UnknownEvent: It is not a request, or not a whole one. The message names the kinds or the part that is wrong,
            and nothing of the event.
    """
    context = event.get("requestContext") if isinstance(event, dict) else None
    if isinstance(event, dict) and isinstance(context, dict):
        for name, (model, fits) in KINDS.items():
            if fits(event, context):
                return _adapted(event, name, model)
    if isinstance(event, dict) and {"raw_path", "is_base64_encoded"} <= event.keys():
        raise UnknownEvent("this is an event of VPC Lattice of version 1: set the target group's event version to V2")
    raise UnknownEvent(
        f"this function answers requests, of these kinds: {', '.join(KINDS)}; objects of S3, through SQS or not, are "
        "for the batch function"
    )


def _adapted(event: Json, name: str, model: type[_Event]) -> Json:
    try:
        return model.model_validate(event).adapted(event)
    except ValidationError as error:
        part = error.errors()[0]["loc"][0]
    except ValueError:
        part = "body"
    raise UnknownEvent(f"an event of this kind, {name}, has no usable {part}")

"""Write one audit line for each request: who did what to which batch and files, and how it ended; never names."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heatlens_aws.object_keys import is_batch_id
from heatlens_aws.settings import AwsSettings
from heatlens_web.access import current_access
from heatlens_web.principal import person
from heatlens_web.request_id import request_id

audit = logging.getLogger("heatlens.audit")

_KEY = "heatlens.audit"
_FAILURE = 400  # the first status that is one
_BATCH_PREFIX = "batch_"


@dataclass(slots=True)
class Entry:
    """What is known of one request; each part is set by the code that learns it."""

    action: str | None = None
    batch_id: str | None = None
    items: str | None = None
    outcome: str | None = None
    route: Any = None
    path_params: Mapping[str, Any] = field(default_factory=dict)


class Audit:
    """ASGI middleware that writes the line when the response is complete, or when the request fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and write its line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = scope[_KEY] = Entry()
        status: list[int] = []

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except BaseException:
            entry.outcome = "internal"
            raise
        finally:
            _find_route(scope, entry)
            line = _line(Request(scope), entry, status[0] if status else None)
            if line["batch"]:  # the access log has these too
                facts = current_access()
                facts.batch, facts.items = line["batch"], line["items"]
            audit.info(json.dumps(line))


class MatchedRoute:
    """ASGI middleware next to the routes, which tells the audit which of them answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            await self._app(scope, receive, send)
        finally:
            if entry := scope.get(_KEY):
                entry.route, entry.path_params = scope.get("route"), scope.get("path_params", {})


def note(request: Request, **known: str | None) -> None:
    """Record parts of the request's line: `action`, `batch_id`, `items` or `outcome`."""
    entry = request.scope.get(_KEY)
    for name, value in known.items() if entry else ():
        setattr(entry, name, value)


def span(first: int, last: int) -> str:
    """Return files as a line names them: the first number and the last."""
    return f"{first}-{last}"


def configure_audit_logger(aws: AwsSettings) -> None:
    """Write audit lines to their log group where one is set, else to the log of the process.

    Lambda's root logger has a handler and a higher level; a plain server's has no handler.
    """
    audit.setLevel(logging.INFO)
    for former in [each for each in audit.handlers if each.name == _KEY]:
        audit.removeHandler(former)
    audit.propagate = not aws.has_audit_group
    if aws.has_audit_group:
        from heatlens_aws.audit_log import open_audit_log  # it loads boto3

        handler: logging.Handler = open_audit_log(aws)
    elif not audit.hasHandlers():
        handler = logging.StreamHandler()
    else:
        return
    handler.name = _KEY
    audit.addHandler(handler)


def _find_route(scope: Scope, entry: Entry) -> None:
    """Name the route of a request that was refused before any was chosen, for this line and that of the access log."""
    if entry.route is not None:
        return
    for route in getattr(scope["app"].state, "named_routes", ()):
        match, found = route.matches(scope)
        if match is not Match.NONE:
            entry.route, entry.path_params = route, found["path_params"]
            scope["route"] = route
        if match is Match.FULL:
            return


def _line(request: Request, entry: Entry, status: int | None) -> dict[str, Any]:
    batch_id = entry.batch_id or entry.path_params.get("batch_id")
    return {
        "who": person(request),
        "action": entry.action or _action(entry, status),
        "batch": batch_id if batch_id and is_batch_id(batch_id) else None,
        "items": entry.items,
        "outcome": entry.outcome or _outcome(status),
        "status": status,
        "request_id": request_id(request),
    }


def _action(entry: Entry, status: int | None) -> str:
    """Name what the route does; the page and its files are one action, and addresses that do not exist another."""
    operation: str | None = getattr(entry.route, "operation_id", None)
    if operation:
        is_batch = operation.startswith(_BATCH_PREFIX)
        return f"batch.{operation.removeprefix(_BATCH_PREFIX)}" if is_batch else operation
    return "page" if status and status < _FAILURE else "unknown"


def _outcome(status: int | None) -> str:
    if status is None:
        return "disconnected"
    return "ok" if status < _FAILURE else f"http.{status}"

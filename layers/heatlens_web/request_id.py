"""Give each request an id, Lambda's own where there is one, and send it as `x-request-id`."""

import uuid
from contextvars import ContextVar

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ID_KEY = "heatlens.request_id"  # in the scope
_current: ContextVar[str] = ContextVar("heatlens_request_id", default="")


class RequestId:
    """ASGI middleware that gives the request its id before anything else runs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the id in the scope and on the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = scope.get("aws.context")
        name = scope[ID_KEY] = getattr(context, "aws_request_id", None) or uuid.uuid4().hex

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        token = _current.set(name)
        try:
            await self._app(scope, receive, send_named)
        finally:
            _current.reset(token)


def request_id(request: Request) -> str:
    """Return the id that the middleware gave this request."""
    return str(request.scope[ID_KEY])


def current_request_id() -> str:
    """Return the id of the request that this code answers; empty outside of one."""
    return _current.get()

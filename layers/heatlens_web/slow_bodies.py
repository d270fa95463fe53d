"""Refuse a request whose body arrives too slowly."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heatlens_web.connections import LEAST_BYTES
from heatlens_web.errors import BodyTooSlow


class SlowBodies:
    """ASGI middleware that raises `BodyTooSlow` in the application if a client does not send what it waits for."""

    def __init__(self, app: ASGIApp, stall_s: float) -> None:
        """Wrap an application; `stall_s` is the time, in seconds, for each `LEAST_BYTES` of a body."""
        self._app, self._stall_s = app, stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Limit the time that the application waits for the body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._stall_s)

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and body.too_slow:
                MutableHeaders(scope=message)["connection"] = "close"  # the rest of the body is not read
            await send(message)

        await self._app(scope, body.receive, send_last)


class _Body:
    """A request's body, and the time left for the next part of it. Only time spent waiting for the client counts."""

    def __init__(self, receive: Receive, stall_s: float) -> None:
        self.too_slow = False
        self._receive, self._stall_s = receive, stall_s
        self._left_s, self._left_bytes = stall_s, LEAST_BYTES
        self._complete = False

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            BodyTooSlow: It is part of the body, and did not arrive in time.
        """
        if self._complete:  # what follows is the end of the connection, which has no time limit
            return await self._receive()
        message = await self._in_time()
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes <= 0:
            self._left_s, self._left_bytes = self._stall_s, LEAST_BYTES
        return message

    async def _in_time(self) -> Message:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._left_s):
                return await self._receive()
        except TimeoutError:
            self.too_slow = True
            raise BodyTooSlow(
                f"the body arrived too slowly: send at least {LEAST_BYTES // 1024} KiB in {self._stall_s:g} s"
            ) from None
        finally:
            self._left_s -= asyncio.get_running_loop().time() - began

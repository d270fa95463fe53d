"""Stop working for a client that has disconnected."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from heatlens_web.errors import ClientDisconnected

Result = TypeVar("Result")


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await work, and cancel it if the client disconnects; the body must have been read.

    Raises:
        ClientDisconnected: Nobody waits for the result.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})  # its images are out of the queue
            raise ClientDisconnected("the client disconnected before the response")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()  # if this request is cancelled itself


async def _disconnected(request: Request) -> None:
    """Return once the client has disconnected."""
    message = await request.receive()
    if message["type"] != "http.disconnect":
        await asyncio.Event().wait()  # whatever it is, it is not the end

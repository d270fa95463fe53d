"""Run an application with uvicorn: slow clients are bounded, and a signal lets running requests finish."""

import asyncio
import logging
import os
import resource
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from heatlens_web.admission import Admission
from heatlens_web.connections import Connection, ConnectionLimits, Connections
from heatlens_web.rate_limited_log import RateLimitedLog
from heatlens_web.settings import ServerSettings
from heatlens_web.slow_bodies import SlowBodies

logger = logging.getLogger(__name__)

LOST = 1  # exit code if requests were not finished in time
# Connections accepted before the first of them can be closed again. If none can be accepted, Python tries so often.
ACCEPTED_AT_ONCE = 16
BACKLOG = 1024  # connections that the system holds until they are accepted
OTHER_FILES = 16  # that the process may open beside connections and what is open at start
OPEN_FILES = Path("/proc/self/fd")


class Server(uvicorn.Server):
    """A server that finishes running requests, within `stop_s`, after SIGTERM or SIGINT; else it exits with `LOST`.

    Uvicorn alone waits without a limit, or cuts responses that a client is still reading, and dies of the signal in the
    end, which an orchestrator takes for a failure.
    """

    def __init__(self, app: FastAPI, settings: ServerSettings, *, log_level: str = "info") -> None:
        """Prepare to serve.

        Args:
            app: The application, with a `ServerState`.
            settings: Limits of time and number.
            log_level: Of uvicorn's own log.
        """
        # One process: a second would hold the model a second time, and the engine uses every core by itself.
        super().__init__(
            uvicorn.Config(
                SlowBodies(app, settings.stall_s),
                http=Connection,
                ws="none",
                loop="asyncio",
                lifespan="off",
                access_log=False,
                log_config=None,  # its records are written as all others are
                log_level=log_level,
                backlog=ACCEPTED_AT_ONCE,
                timeout_keep_alive=settings.keep_alive_s,
            )
        )
        most = most_connections(settings.connections)
        limits = ConnectionLimits(settings.head_s, settings.stall_s, most, settings.retry_after_s)
        self.server_state = self.connections = Connections(limits)
        self._admission: Admission = app.state.server.admission
        app.state.heatlens.start()
        self.stopping = False
        self._stop_s = settings.stop_s
        self._until = float("inf")
        self._cannot_accept = RateLimitedLog(logger, "cannot accept connections: too many open files (ulimit -n)")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)  # asyncio has set it to the number accepted at once
            logging.getLogger("uvicorn.error").info("listening on http://%s:%d", *listener.getsockname()[:2])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to shut down; a second signal ends at once."""
        self._until = 0 if self.stopping else time.monotonic() + self._stop_s
        self.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """End what stalls, and shut down if a signal has come; uvicorn calls this ten times a second."""
        self.connections.end_stalled(asyncio.get_running_loop().time())
        if self.stopping:
            self._admission.closed = True  # new requests are answered with the reason
            self._finish()
        return await super().on_tick(counter)

    def _finish(self) -> None:
        busy = self.connections.busy
        if busy and time.monotonic() > self._until:
            logger.error("requests that were not finished in time: %d", busy)
            sys.stdout.flush()
            # An ordinary exit would wait for the threads of those requests.
            os._exit(LOST)
        if not busy:
            self.should_exit = self.force_exit = True  # nothing is left to wait for

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), OSError) and "socket.accept()" in context.get("message", ""):
            self._cannot_accept.record(loop.time())
        else:
            loop.default_exception_handler(context)


def most_connections(configured: int) -> int:
    """Return the connections that the process can hold: as configured, or as many as it may open files."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return configured
    already = len(list(OPEN_FILES.iterdir())) if OPEN_FILES.exists() else 0
    return max(1, min(configured, allowed - already - ACCEPTED_AT_ONCE - OTHER_FILES))

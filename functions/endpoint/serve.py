"""Serve the SageMaker endpoint, with settings from the environment: `python -m functions.endpoint.serve`."""

import logging
import os
import signal
import sys
import time
from types import FrameType

import uvicorn

from functions.endpoint.app import create_app
from functions.endpoint.state import ServerState
from heatlens.errors import ModelError
from heatlens_web.settings import ServerSettings, read_server_settings

logger = logging.getLogger(__name__)

HOST = "0.0.0.0"  # noqa: S104 - SageMaker reaches the container from outside it
LAST_BYTES_S = 2  # for connections to close once no request is in flight
LOST = 1  # exit code if requests were not finished in time


class Server(uvicorn.Server):
    """A server that, on SIGTERM, refuses new requests and finishes running ones, within `stop_s`, before it closes.

    Uvicorn alone closes its socket at once, which gives clients no reason, waits without a limit, and dies of the
    signal in the end, which an orchestrator takes for a failure.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Load the model, without listening yet."""
        app = create_app(settings)
        # One process: a second would hold the model a second time, and the engine uses every core by itself.
        super().__init__(
            uvicorn.Config(
                app,
                host=HOST,
                port=settings.port,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=LAST_BYTES_S,
            )
        )
        self.unfinished = 0
        self._state: ServerState = app.state.server
        self._stop_s = settings.stop_s
        self._until = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to shut down; a second signal ends at once."""
        if self._state.admission.closed:
            self._until = 0
        else:
            self._state.admission.closed = True
            self._until = time.monotonic() + self._stop_s

    async def on_tick(self, counter: int) -> bool:
        """Close once no request is in flight or the time is over; uvicorn calls this ten times a second."""
        admission = self._state.admission
        if admission.closed and (not admission.in_flight or time.monotonic() > self._until):
            self.unfinished = admission.in_flight
            self.should_exit = True
        return await super().on_tick(counter)


def main() -> None:
    """Serve until SIGTERM."""
    # The first process of a container has no default action for SIGTERM: without this it is ignored while loading.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server = Server(read_server_settings())
    except ModelError as error:
        sys.exit(str(error))
    server.run()
    if server.unfinished:
        logger.error("requests that were not finished in time: %d", server.unfinished)
        # An ordinary exit would wait for the threads of those requests.
        os._exit(LOST)


if __name__ == "__main__":
    main()

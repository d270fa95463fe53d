"""Environment -> the SageMaker door, served where SageMaker looks for it: `python -m functions.endpoint.serve`."""

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
LAST_BYTES_S = 2  # for connections to close once nothing runs any more
LOST = 1  # exit code where requests were not finished in time


class Server(uvicorn.Server):
    """Told to end, it refuses what is new and finishes what runs; only then, or when its time is over, it closes.

    Uvicorn alone would close its socket at once, which tells nobody why, wait for as long as it takes, and die of the
    signal in the end, which an orchestrator takes for a failure.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Load the model; nothing is listened on yet."""
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
        self._door: ServerState = app.state.door
        self._stop_s = settings.stop_s
        self._until = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal ends at once."""
        if self._door.admission.closed:
            self._until = 0
        else:
            self._door.admission.closed = True
            self._until = time.monotonic() + self._stop_s

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether the end has come."""
        admission = self._door.admission
        if admission.closed and (not admission.inside or time.monotonic() > self._until):
            self.unfinished = admission.inside
            self.should_exit = True
        return await super().on_tick(counter)


def main() -> None:
    """Serve until told to end."""
    # The first process of a container has no default action: without this it could not be ended while it loads.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server = Server(read_server_settings())
    except ModelError as error:
        sys.exit(str(error))
    server.run()
    if server.unfinished:
        logger.error("requests that were not finished in time: %d", server.unfinished)
        # An ordinary exit would wait for the threads that are still at them.
        os._exit(LOST)


if __name__ == "__main__":
    main()

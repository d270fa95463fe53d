"""Serve the SageMaker endpoint, with settings from the environment: `python -m functions.endpoint.serve`."""

import os
import signal
import socket
import sys

from heatlens.errors import ModelError
from heatlens.registry import loading
from heatlens_web.server_logs import configure_server_logs
from heatlens_web.settings import ServerSettings, read_server_settings

HOST = "0.0.0.0"  # noqa: S104 - SageMaker reaches the container from outside it


def listen(settings: ServerSettings) -> socket.socket:
    """Listen on all addresses at the configured port."""
    return socket.create_server((HOST, settings.port))


def main() -> None:
    """Serve until SIGTERM."""
    # The first process of a container has no default action for SIGTERM: without this it is ignored while loading.
    # An orderly exit would wait for the thread that loads, which may take longer than SageMaker does.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        settings = read_server_settings()
        configure_server_logs(settings.log_format or "json", settings.log_level)
        with loading(settings) as models:
            from functions.endpoint.app import create_app  # the web framework, imported while the model is loaded
            from heatlens_web.http_server import Server

            server = Server(create_app(settings, models), settings)
    except ModelError as error:
        sys.exit(str(error))
    with listen(settings) as listener:
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()

"""Serve the HTTP API and its web page with uvicorn."""

import errno
import socket

from heatlens.errors import HeatlensError
from heatlens_cli.console import say
from heatlens_cli.extras import requires_extra
from heatlens_web.app import create_app
from heatlens_web.http_server import Server
from heatlens_web.settings import read_server_settings


class CannotListen(HeatlensError):
    """The server cannot listen on the address."""


def serve_forever(host: str, port: int) -> None:
    """Serve until interrupted or terminated; running requests are finished first.

    Raises:
        CannotListen: The port is in use, or the address is not one of this machine.
        MissingExtra: A bucket is configured and the extra aws is not installed.
    """
    settings = read_server_settings()
    with _listen(host, port) as listener:
        with requires_extra("aws", "serve with HEATLENS_BUCKET set"):
            app = create_app(settings, deployment="server")
        say(f"Heatlens serves http://{host}:{listener.getsockname()[1]} (Ctrl-C ends it)")
        Server(app, settings, log_level="warning").run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} is in use: choose another (heatlens serve --port N, make run PORT=N)"
            ) from error
        raise CannotListen(f"cannot listen on {host}, port {port}: {error.strerror}") from error

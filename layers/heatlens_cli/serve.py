"""Serve the HTTP API and its web page with uvicorn."""

import errno
import socket
from ipaddress import ip_address

from heatlens.errors import HeatlensError
from heatlens.types import LogFormat, LogLevel
from heatlens_cli.console import complain, say
from heatlens_cli.extras import requires_extra
from heatlens_cli.serve_workers import end_with_parent, run_workers
from heatlens_web.app import create_app
from heatlens_web.http_server import Server
from heatlens_web.server_logs import configure_server_logs
from heatlens_web.settings import ServerSettings, read_server_settings


class CannotListen(HeatlensError):
    """The server cannot listen on the address."""


def serve_forever(
    host: str,
    port: int,
    log_level: LogLevel | None = None,
    log_format: LogFormat | None = None,
    *,
    workers: int = 1,
    descriptor: int | None = None,
) -> int:
    """Serve until interrupted or terminated; running requests are finished first.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 selects a free one.
        log_level: Least level that is logged, in place of the setting's.
        log_format: Form of the log, in place of the setting's.
        workers: Processes that serve; each loads the model.
        descriptor: A socket that listens already, in place of address and port.

    Returns:
        The exit status.

    Raises:
        CannotListen: The port is in use, or the address is not one of this machine, or the descriptor is no socket.
        MissingExtra: A bucket is configured and the extra aws is not installed.
    """
    settings = read_server_settings()
    configure_server_logs(log_format or settings.log_format or "text", log_level or settings.log_level)
    with _listen(host, port) if descriptor is None else _open(descriptor) as listener:
        if workers > 1:
            _announce(host, listener, settings)
            words = ["--log-level", log_level or settings.log_level]
            words += ["--log-format", log_format or settings.log_format or "text"]
            return run_workers(listener, workers, words)
        with requires_extra("aws", "serve with HEATLENS_BUCKET set"):
            app = create_app(settings, deployment="server")
        if descriptor is None:
            _announce(host, listener, settings)
        else:
            end_with_parent()
        Server(app, settings, log_level="warning").run(sockets=[listener])
    return 0


def _announce(host: str, listener: socket.socket, settings: ServerSettings) -> None:
    if warning := exposure(host, settings):
        complain(warning)
    say(f"Heatlens serves http://{host}:{listener.getsockname()[1]} (Ctrl-C ends it)")


def exposure(host: str, settings: ServerSettings) -> str | None:
    """Return a warning where others can reach a server that does not know who they are."""
    if settings.api_keys.get_secret_value().strip() or is_loopback(host):
        return None
    return (
        f"warning: everyone who reaches {host} can use this server, there is no authentication: "
        "set HEATLENS_API_KEYS=name=key, or listen on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; of a name, only `localhost` is known to be such."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} is in use: choose another (heatlens serve --port N, make run PORT=N)"
            ) from error
        raise CannotListen(f"cannot listen on {host}, port {port}: {error.strerror}") from error


def _open(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise CannotListen(f"--fd {descriptor} is not a socket: {error.strerror}") from error

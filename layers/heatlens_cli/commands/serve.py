"""`heatlens serve`."""

from typing import Annotated

import typer

from heatlens.types import LogFormat, LogLevel
from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.extras import requires_extra


@clear_errors()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 selects a free one.", min=0, max=65535)] = 8000,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least level that is logged. Default: HEATLENS_LOG_LEVEL, else info.")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that serve the port; each loads the model and has its own limits.", min=1)
    ] = 1,
    descriptor: Annotated[
        int | None, typer.Option("--fd", help="A socket that listens already, in place of --host and --port.")
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Form of the log. Default: HEATLENS_LOG_FORMAT, else text.")
    ] = None,
) -> None:
    """Serve the HTTP API and its web page until interrupted."""
    with requires_extra("server", "serve"):
        from heatlens_cli.serve import serve_forever
    raise typer.Exit(serve_forever(host, port, log_level, log_format, workers=workers, descriptor=descriptor))

"""End a command with one line where it fails or is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from heatlens.errors import HeatlensError
from heatlens_cli.console import complain

INTERRUPTED = 130  # exit status by the shells' convention: 128 plus the signal's number


@contextmanager
def clear_errors(*, interrupted: str = "interrupted") -> Iterator[None]:
    """Print a `HeatlensError` or an interruption as one line and end the command."""
    try:
        yield
    except KeyboardInterrupt as stop:
        complain(interrupted)
        raise typer.Exit(INTERRUPTED) from stop
    except HeatlensError as error:
        complain(str(error))
        raise typer.Exit(1) from error

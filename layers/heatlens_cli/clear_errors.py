"""End a command with one line if it fails, and with its traceback too if `--debug` is given."""

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import typer

from heatlens.errors import HeatlensError
from heatlens_cli.console import OutputFailed, complain

OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}  # of help and progress bars
INTERRUPTED = 130  # exit status by the shells' convention: 128 plus the signal's number
FAILED = 1

show_tracebacks: ContextVar[bool] = ContextVar("show_tracebacks", default=False)


@contextmanager
def clear_errors(*, interrupted: str = "interrupted") -> Iterator[None]:
    """Print an error or an interruption of the block as one line, and end the command; also a decorator."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt as stop:
        complain(interrupted)
        raise typer.Exit(INTERRUPTED) from stop
    except Exception as error:
        if is_of_output(error):
            raise
        if show_tracebacks.get():
            traceback.print_exc(file=sys.stderr)
        complain(_describe(error))
        raise typer.Exit(FAILED) from error


def is_of_output(error: Exception) -> bool:
    """Whether standard output failed: the errors of other files have a name."""
    return isinstance(error, OutputFailed) or (
        isinstance(error, OSError) and error.errno in OUTPUT_ERRORS and error.filename is None
    )


def _describe(error: Exception) -> str:
    if isinstance(error, HeatlensError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"internal error: {type(error).__name__}: {error}. Run heatlens --debug COMMAND to see where, and report it"

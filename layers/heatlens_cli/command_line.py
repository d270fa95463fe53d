"""The command line as a whole: its output may fail, and each command's help has an example."""

from collections.abc import Callable
from typing import Any

import typer

from heatlens_cli.clear_errors import FAILED, is_of_output
from heatlens_cli.console import BROKEN_PIPE, OutputFailed, complain, discard_output, escape_unencodable


class CommandLine(typer.Typer):
    """The command line; it ends with one line if its output cannot be written."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - typer's own
        """Run one command."""
        escape_unencodable()
        try:
            return super().__call__(*args, **kwargs)
        except SystemExit as stop:
            if isinstance(stop.__context__, BrokenPipeError):  # typer's help ends with 1 where its reader has left
                raise SystemExit(BROKEN_PIPE) from None
            raise
        except (OutputFailed, OSError) as error:
            if not is_of_output(error):
                raise
            discard_output()
            reason = error.strerror if isinstance(error, OSError) else error
            complain(f"standard output cannot be written: {reason}")
            raise SystemExit(FAILED) from error


def add_command(
    app: typer.Typer, command: Callable[..., None], name: str | None = None, *, example: str, panel: str | None = None
) -> None:
    """Add a command, whose help ends with an example, to the command line or a group of it."""
    app.command(name, epilog=f"Example: {example}", rich_help_panel=panel)(command)

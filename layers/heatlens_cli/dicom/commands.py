"""The commands of `heatlens dicom` and their arguments."""

from pathlib import Path
from typing import Annotated

import typer

from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.command_line import add_command
from heatlens_cli.extras import requires_extra

File = Annotated[Path, typer.Argument(help="TOML file: the PACS, the queue's folder, and the rules.", metavar="FILE")]


@clear_errors()
def watch(file: File) -> None:
    """Stand beside a PACS: explain each new image that a rule names, and store the results in its study.

    Runs until SIGTERM or Ctrl-C. What waits is on disk, and is continued by the next run.
    """
    with requires_extra("pacs", "dicom watch"):
        from heatlens_cli.dicom.watch import watch as watch_pacs
    raise typer.Exit(watch_pacs(file))


@clear_errors()
def status(file: File) -> None:
    """Print how many instances wait, failed and are done, and why each that failed did."""
    with requires_extra("pacs", "dicom status"):
        from heatlens_cli.dicom.queue_state import print_status
    print_status(file)


@clear_errors()
def retry(
    file: File,
    instances: Annotated[
        list[str] | None, typer.Argument(help="SOP instance UIDs; by default all that failed.", metavar="[UID]...")
    ] = None,
) -> None:
    """Let instances that failed wait again; a running watch takes them up."""
    with requires_extra("pacs", "dicom retry"):
        from heatlens_cli.dicom.queue_state import put_back
    raise typer.Exit(put_back(file, instances or ()))


dicom = typer.Typer(no_args_is_help=True, help="Explain what arrives in a PACS, and store the results there.")
add_command(dicom, watch, example="heatlens dicom watch pacs.toml")
add_command(dicom, status, example="heatlens dicom status pacs.toml")
add_command(dicom, retry, example="heatlens dicom retry pacs.toml 1.2.840.113619.2.5")

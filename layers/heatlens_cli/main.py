"""The commands of `heatlens`, in the order of its help.

Each command imports what it runs, so that `--help` and `explain` load neither the web framework nor torch.
"""

from typing import Annotated

import typer

from heatlens import __version__
from heatlens_cli.batch.commands import batch
from heatlens_cli.clear_errors import show_tracebacks
from heatlens_cli.command_line import CommandLine, add_command
from heatlens_cli.commands.dev import event, invoke
from heatlens_cli.commands.explain import explain, predict
from heatlens_cli.commands.machine import bench, completion, cost, doctor
from heatlens_cli.commands.models import compile_, init_model, inspect
from heatlens_cli.commands.operations import redrive, verify
from heatlens_cli.commands.serve import serve
from heatlens_cli.console import say
from heatlens_cli.dicom.commands import dicom

IMAGES, MODELS, SERVERS, MACHINE = "Explain images", "Models", "Servers and batches", "This machine"


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer's form
    if asked:
        say(f"heatlens {__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
) -> None:
    """Explain what an image classifier looked at: class activation heatmaps, compiled ahead of time."""
    show_tracebacks.set(debug)


app = CommandLine(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)
app.callback()(_options)
add_command(app, explain, panel=IMAGES, example="heatlens explain scans/ --out heatmaps --target top-2")
add_command(app, predict, panel=IMAGES, example="heatlens predict scans/ --top 3")
add_command(app, compile_, "compile", panel=MODELS, example="heatlens compile hf:my-model --out model")
add_command(app, inspect, panel=MODELS, example="heatlens inspect")
add_command(app, init_model, panel=MODELS, example="heatlens init-model model.toml")
add_command(app, serve, panel=SERVERS, example="heatlens serve --port 8080")
app.add_typer(batch, name="batch", rich_help_panel=SERVERS)
app.add_typer(dicom, name="dicom", rich_help_panel=SERVERS)
add_command(app, verify, panel=SERVERS, example="heatlens verify s3://BUCKET/out/BATCH/manifest.json")
add_command(
    app, redrive, panel=SERVERS, example="heatlens redrive --dead-letters https://sqs.eu-west-1.amazonaws.com/1/dead"
)
add_command(app, doctor, panel=MACHINE, example="heatlens doctor --model model")
add_command(app, bench, panel=MACHINE, example="heatlens bench scan.jpg --model model")
add_command(app, cost, panel=MACHINE, example="heatlens cost scan.jpg --memory 1769 --memory 3008")
add_command(
    app,
    completion,
    panel=MACHINE,
    example="heatlens completion bash > ~/.heatlens-completion",
)

dev = typer.Typer(no_args_is_help=True, help="Try the Lambda function without AWS.")
add_command(dev, invoke, example="heatlens dev invoke scan.png --kind rest-api-v1")
add_command(dev, event, example="heatlens dev event scan.png > event.json")
app.add_typer(dev, name="dev", rich_help_panel=SERVERS)

"""`heatlens doctor`, `bench`, `cost` and `completion`: what concerns this machine."""

from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.commands.options import ModelFolder
from heatlens_cli.console import say_row

Seconds = Annotated[float, typer.Option(help="Seconds after which measuring ends, stable or not.", min=0.1)]


def _check_price(dollars: float | None) -> float | None:
    if dollars is not None and not (isfinite(dollars) and dollars >= 0):
        raise typer.BadParameter("a price is a number from 0")
    return dollars


class Shell(StrEnum):
    """Shells that can complete."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


@clear_errors()
def doctor(model: ModelFolder = None) -> None:
    """Report what is installed, which engine and precision run, memory, processor, and one timed explanation."""
    from heatlens_cli.doctor import examine

    failed = False
    for check in examine(model):
        say_row(f"{check.status:<8} {check.name:<18} {check.finding}", 28)
        failed = failed or check.status == "FAILED"
    raise typer.Exit(int(failed))


@clear_errors()
def bench(
    images: Annotated[list[Path] | None, typer.Argument(help="Image files; by default a sample.")] = None,
    model: ModelFolder = None,
    seconds: Seconds = 10.0,
) -> None:
    """Measure explanations on this machine: percentiles, images per second, and each stage."""
    from heatlens_cli.bench import bench as measure

    for line in measure(images or [], model, seconds):
        say_row(line, 12)


@clear_errors()
def cost(
    image: Annotated[Path | None, typer.Argument(help="An image like yours; by default a sample.")] = None,
    model: ModelFolder = None,
    memory: Annotated[int, typer.Option(help="Memory of the Lambda function, in MiB.", min=128, max=10240)] = 3008,
    gb_second: Annotated[
        float | None,
        typer.Option(help="US dollars per GB-second; by default Lambda's on x86 in us-east-1.", callback=_check_price),
    ] = None,
    instance_hour: Annotated[
        float | None,
        typer.Option(help="US dollars per hour of an instance, such as a SageMaker endpoint.", callback=_check_price),
    ] = None,
    seconds: Seconds = 5.0,
) -> None:
    """Estimate the price of 1,000 heatmaps from the time that one takes on this machine."""
    from heatlens_cli.price import GB_SECOND, Prices, estimate_price

    prices = Prices(GB_SECOND if gb_second is None else gb_second, instance_hour=instance_hour)
    for line in estimate_price(image, model, memory_mib=memory, prices=prices, seconds=seconds):
        say_row(line, 14)


@clear_errors()
def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the script that completes commands and options in a shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name="heatlens", complete_var="_HEATLENS_COMPLETE", shell=shell.value))

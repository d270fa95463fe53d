"""`heatlens doctor`, `bench`, `cost` and `completion`: what concerns this machine."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.commands.options import ModelFolder
from heatlens_cli.console import say, say_row

Seconds = Annotated[float, typer.Option(help="Seconds after which measuring ends, stable or not.", min=0.1)]


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
    region: Annotated[str, typer.Option(help="Region of the prices.")] = "us-east-1",
    prices: Annotated[
        Path | None, typer.Option(help="TOML file of prices that replace the package's.", metavar="FILE")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Output of an earlier cost --json, whose figures are used.", metavar="FILE")
    ] = None,
    memory: Annotated[
        list[int] | None, typer.Option(help="Memory of the Lambda function, in MiB; repeat it.", min=128, max=10240)
    ] = None,
    instance: Annotated[list[str] | None, typer.Option(help="SageMaker instance type; repeat it.")] = None,
    endpoint_seconds: Annotated[
        float | None, typer.Option(help="Seconds of a heatmap, measured on that instance.", min=0.000001)
    ] = None,
    plain: Annotated[
        Path | None, typer.Option(help="Results of make bench, for the plain service.", metavar="FILE")
    ] = None,
    seconds: Seconds = 5.0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Estimate the price of 1,000 heatmaps on AWS, from times and bytes measured on this machine."""
    from datetime import UTC, datetime

    from heatlens_cli.cost.estimate import MEMORIES, make_estimate
    from heatlens_cli.cost.figures import read_figures, read_plain
    from heatlens_cli.cost.prices import read_prices
    from heatlens_cli.cost.table import print_estimate

    listed = read_prices(region, prices)
    for name in instance or []:
        listed.instance(name)
    beside = read_plain(plain) if plain else None
    if figures:
        measured = read_figures(figures)
    else:
        from heatlens_cli.cost.take_figures import take_figures

        measured = take_figures(image, model, seconds=seconds)
    estimate = make_estimate(
        measured,
        listed,
        today=datetime.now(UTC).date(),
        memories=memory or MEMORIES,
        instances=instance or (),
        endpoint_seconds=endpoint_seconds,
        plain=beside,
    )
    if as_json:
        say(json.dumps(estimate.as_json(), indent=1))
        return
    for line in print_estimate(estimate):
        say(line)


@clear_errors()
def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the script that completes commands and options in a shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name="heatlens", complete_var="_HEATLENS_COMPLETE", shell=shell.value))

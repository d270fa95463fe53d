"""The commands of `heatlens batch` and their options."""

from pathlib import Path
from typing import Annotated

import typer

from heatlens.options import OptionArguments
from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.command_line import add_command
from heatlens_cli.commands.options import (
    AlphaWeight,
    ColormapName,
    Contrast,
    DicomObjects,
    Force,
    FormatName,
    FrameNumber,
    Included,
    Layer,
    Method,
    OutFolder,
    Scale,
    Targets,
    Threshold,
    Window,
)

Url = Annotated[str, typer.Option(envvar="HEATLENS_URL", help="Address of the server.")]
Headers = Annotated[
    list[str] | None, typer.Option("--header", help="Header of every call, such as 'Authorization: …'; repeat it.")
]
Iam = Annotated[bool, typer.Option("--iam", help="Sign every call with this machine's AWS credentials.")]
BatchId = Annotated[str, typer.Argument(help="Id of the batch.", metavar="BATCH")]
LOCAL = "http://127.0.0.1:8000"
AGAIN = "interrupted: run the same command again to continue"


@clear_errors(interrupted=AGAIN)
def run(
    source: Annotated[str, typer.Argument(help="Folder (subfolders included), or s3://BUCKET/PREFIX.")],
    folder: OutFolder = Path("out/batch"),
    url: Url = LOCAL,
    header: Headers = None,
    colormap: ColormapName = "jet",
    alpha: AlphaWeight = 0.4,
    *,
    iam: Iam = False,
    model: Annotated[str | None, typer.Option(help="One of the server's models, by its name there.")] = None,
    target: Targets = None,
    contrast: Contrast = None,
    method: Method = None,
    layer: Layer = None,
    scale: Scale = "image",
    include: Included = "overlay",
    threshold: Threshold = 0.5,
    dicom: DicomObjects = None,
    form: FormatName = "png",
    window: Window = None,
    frame: FrameNumber = None,
    force: Force = False,
) -> None:
    """Explain a folder of images in staged batches. Run again after an interruption to send only what is missing."""
    from heatlens_cli.batch.options import read_options
    from heatlens_cli.batch.run import parse_headers, run_batch

    given: OptionArguments = {"colormap": colormap, "alpha": alpha, "target": target or (), "contrast": contrast}
    given |= {"method": method, "layer": layer, "scale": scale, "threshold": threshold}
    given |= {"format": form, "window": window, "frame": frame}
    options = read_options(given, include, model, dicom)
    headers = parse_headers(header or [])
    raise typer.Exit(run_batch(source, folder, url=url, headers=headers, options=options, iam=iam, force=force))


@clear_errors()
def status(batch_id: BatchId, url: Url = LOCAL, header: Headers = None, *, iam: Iam = False) -> None:
    """Print the state of a batch and the counts of its files."""
    from heatlens_cli.batch.follow import open_batch, print_status

    with open_batch(batch_id, url, header, iam=iam) as batch:
        print_status(batch.status())


@clear_errors(interrupted=AGAIN)
def results(
    batch_id: BatchId,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also download the results into this folder.")
    ] = None,
    url: Url = LOCAL,
    header: Headers = None,
    *,
    iam: Iam = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each file.")] = False,
) -> None:
    """Print the result of each file of a batch, and download what there is."""
    from heatlens_cli.batch.follow import open_batch, print_results

    with open_batch(batch_id, url, header, iam=iam) as batch:
        raise typer.Exit(print_results(batch, folder, as_json=as_json))


@clear_errors()
def cancel(batch_id: BatchId, url: Url = LOCAL, header: Headers = None, *, iam: Iam = False) -> None:
    """Stop what has not started; results that are there are kept."""
    from heatlens_cli.batch.follow import open_batch, print_status

    with open_batch(batch_id, url, header, iam=iam) as batch:
        print_status(batch.cancel())


@clear_errors()
def purge(
    batch_id: BatchId,
    url: Url = LOCAL,
    header: Headers = None,
    *,
    iam: Iam = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase all images, results and file names of a batch; it cannot be undone."""
    from heatlens_cli.batch.follow import open_batch, print_status

    with open_batch(batch_id, url, header, iam=iam) as batch:
        if not yes:
            typer.confirm(f"erase everything of batch {batch_id}?", abort=True)
        print_status(batch.purge())


@clear_errors()
def retry(batch_id: BatchId, url: Url = LOCAL, header: Headers = None, *, iam: Iam = False) -> None:
    """Repeat what failed in a finished batch as a new batch, wait for it, and print its results.

    Files that were uploaded are not sent again.
    """
    from heatlens_cli.batch.follow import open_batch, repeat

    with open_batch(batch_id, url, header, iam=iam) as batch:
        raise typer.Exit(repeat(batch))


_ID = "01J9Z3NDEKTSV4RRFFQ69G5FAV"
batch = typer.Typer(no_args_is_help=True, help="Explain any number of images in staged batches.")
add_command(batch, run, example="heatlens batch run scans/ --out heatmaps --url https://… --iam")
add_command(batch, status, example=f"heatlens batch status {_ID} --url https://… --iam")
add_command(batch, results, example=f"heatlens batch results {_ID} --out heatmaps")
add_command(batch, cancel, example=f"heatlens batch cancel {_ID}")
add_command(batch, purge, example=f"heatlens batch purge {_ID} --yes")
add_command(batch, retry, example=f"heatlens batch retry {_ID} --header 'x-api-key: …'")

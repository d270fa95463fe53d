"""The commands of `heatlens batch` and their options."""

from pathlib import Path
from typing import Annotated

import typer

from heatlens_cli.clear_errors import clear_errors

batch = typer.Typer(no_args_is_help=True, help="Explain any number of images in staged batches.")


@batch.command("run", epilog="Example: heatlens batch run scans/ --out out/batch --url http://127.0.0.1:8000")
def batch_run(
    source: Annotated[str, typer.Argument(help="Folder (subfolders included), or s3://BUCKET/PREFIX.")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the heatmaps; created if missing.")] = Path(
        "out/batch"
    ),
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    header: Annotated[list[str] | None, typer.Option(help="Header of every call, such as 'Authorization: …'.")] = None,
    colormap: Annotated[
        str, typer.Option(help="jet, hot, viridis, turbo, …; coolwarm or seismic show both signs.")
    ] = "jet",
    alpha: Annotated[float, typer.Option(help="Weight of the heatmap in the overlay, 0.1 to 0.9.")] = 0.4,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Explain a folder of images in staged batches. Run again after an interruption to send only what is missing."""
    with clear_errors(interrupted="interrupted: run the same command again to continue"):
        from heatlens_cli.batch.run import parse_headers, run_batch

        options = {"colormap": colormap, "alpha": alpha}
        headers = parse_headers(header or [])
        raise typer.Exit(run_batch(source, folder, url=url, headers=headers, options=options, force=force))

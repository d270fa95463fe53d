"""`heatlens verify` and `redrive`, for those who operate staged batches."""

from typing import Annotated

import typer

from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.extras import requires_extra


@clear_errors()
def verify(
    manifest: Annotated[str, typer.Argument(help="s3://BUCKET/out/BATCH/manifest.json, or a copy on disk.")],
) -> None:
    """Recompute every digest and count in the manifest of a finished batch."""
    from heatlens_cli.verify.run import verify_manifest

    raise typer.Exit(verify_manifest(manifest))


@clear_errors()
def redrive(
    dead_letters: Annotated[
        list[str], typer.Option(help="URL of a dead-letter queue; repeat it for the other lane's.")
    ],
) -> None:
    """Re-queue the dead-letter messages of open batches and of objects below drop/."""
    with requires_extra("aws", "redrive"):
        from heatlens_cli.redrive import redrive_open
    raise typer.Exit(redrive_open(dead_letters))

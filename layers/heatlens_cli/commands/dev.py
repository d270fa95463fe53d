"""`heatlens dev`: what the developers of a deployment run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.commands.options import AlphaWeight, ColormapName, Force, Images, OutFolder
from heatlens_cli.console import complain, say
from heatlens_cli.explain_files import Output, explain_files, one_by_one


@clear_errors()
def invoke(
    images: Images,
    folder: OutFolder = Path("out"),
    kind: Annotated[
        str, typer.Option(help="http-api-v2, rest-api-v1, alb, function-url or vpc-lattice-v2.")
    ] = "http-api-v2",
    colormap: ColormapName = "jet",
    alpha: AlphaWeight = 0.4,
    *,
    force: Force = False,
) -> None:
    """Send each image as an event to the Lambda handler, and write the PNG from its response."""
    from heatlens_cli.invoke import HandlerExplainer

    explainer = HandlerExplainer(kind=kind, colormap=colormap, alpha=alpha)
    output = Output(folder, force=force)
    raise typer.Exit(explain_files(images, one_by_one(explainer), output, max_bytes=explainer.file_bytes))


@clear_errors()
def event(
    image: Annotated[Path, typer.Argument(help="Image file.", metavar="IMAGE")],
    kind: Annotated[
        str,
        typer.Option(
            help="http-api-v2, rest-api-v1, alb, function-url, vpc-lattice-v2: an HTTP request. sqs, s3, eventbridge: "
            "an object below drop/. json: the body of a JSON request."
        ),
    ] = "http-api-v2",
    query: Annotated[str, typer.Option(help="Query of the request, such as 'colormap=hot&include=map'.")] = "",
    bucket: Annotated[str, typer.Option(help="Bucket of the object.")] = "bucket",
) -> None:
    """Print the Lambda event of an image, for example for `sam local invoke`."""
    from heatlens_cli.events.make_event import make_event

    try:
        made = make_event(image, kind, query=query, bucket=bucket)
    except OSError as error:
        complain(f"{image}: {error.strerror}")
        raise typer.Exit(1) from error
    say(json.dumps(made))

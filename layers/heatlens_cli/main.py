"""The commands of `heatlens` and their options.

Each command imports what it runs, so that `--help` and `explain` load neither the web framework nor torch.
"""

import errno
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from heatlens import __version__
from heatlens.options import OptionArguments
from heatlens.types import LogFormat, LogLevel
from heatlens_cli.batch.commands import batch
from heatlens_cli.clear_errors import clear_errors as _clear_errors
from heatlens_cli.console import OutputFailed, complain, discard_output, escape_unencodable, say
from heatlens_cli.explain_files import Output, WouldOverwrite, explain_files
from heatlens_cli.extras import requires_extra

OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}  # of help and progress bars


class CommandLine(typer.Typer):
    """The command line; it ends with one line if its output cannot be written or it is interrupted."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - typer's own
        """Run one command."""
        escape_unencodable()
        try:
            return super().__call__(*args, **kwargs)
        except (OutputFailed, OSError) as error:
            if isinstance(error, OSError) and error.errno not in OUTPUT_ERRORS:
                raise
            discard_output()
            reason = error.strerror if isinstance(error, OSError) else error
            complain(f"standard output cannot be written: {reason}")
            raise SystemExit(1) from error


app = CommandLine(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

app.add_typer(batch, name="batch")

Images = Annotated[
    list[Path],
    typer.Argument(help="Image files, folders with their subfolders, 'patterns/**/*.png', or - for standard input."),
]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the heatmaps; created if missing.")]
ColormapName = Annotated[str, typer.Option(help="jet, hot, viridis, turbo, …; coolwarm or seismic show both signs.")]
AlphaWeight = Annotated[float, typer.Option(help="Weight of the heatmap in the overlay, 0.1 to 0.9.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer's form
    if asked:
        say(f"heatlens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explain what an image classifier looked at: class activation heatmaps, compiled ahead of time."""


@app.command()
def explain(
    images: Images,
    folder: OutFolder = Path("out"),
    model: Annotated[Path | None, typer.Option(help="Model folder; HEATLENS_MODEL_DIR or the demo by default.")] = None,
    colormap: ColormapName = "jet",
    alpha: AlphaWeight = 0.4,
    *,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Class label, index or top-3; by default the predicted class. Repeat it for several."),
    ] = None,
    contrast: Annotated[str | None, typer.Option(help="Class whose logit is subtracted from the target's.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="gradcam, gradcam++, layercam, eigencam, ablationcam, …; by default the model's."),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer from the model card; by default the first.")] = None,
    scale: Annotated[str, typer.Option(help="image: full heat is each map's maximum. absolute: the same in all.")] = (
        "image"
    ),
    include: Annotated[
        str, typer.Option(help="What to write, separated by commas: overlay, heatmap, map, regions, faithfulness.")
    ] = "overlay",
    threshold: Annotated[float, typer.Option(help="Heat at which regions begin, 0.01 to 1.")] = 0.5,
    form: Annotated[str, typer.Option("--format", help="png, jpeg or webp.")] = "png",
    window: Annotated[
        str | None, typer.Option(help="center,width for DICOM and high-bit-depth grayscale, such as 40,400.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each file.")] = False,
    force: Force = False,
) -> None:
    """Write a heatmap for each image, without a server: IMAGE.heatmap.png, in the images' own subfolders.

    Example: heatlens explain scans/ --out heatmaps --target top-2
    """
    with _clear_errors():
        from heatlens_cli.explain import CoreExplainer, read_include
        from heatlens_cli.explain_report import JsonLines, Table

        options: OptionArguments = {"colormap": colormap, "alpha": alpha, "target": target or (), "contrast": contrast}
        options |= {"method": method, "layer": layer, "scale": scale, "threshold": threshold}
        explainer = CoreExplainer(model, options | {"format": form, "window": window}, read_include(include))
        output = Output(folder, explainer.suffixes, several=explainer.several, force=force)
        raise typer.Exit(
            explain_files(
                images,
                explainer,
                output,
                max_bytes=explainer.file_bytes,
                threads=explainer.threads,
                report=JsonLines() if as_json else Table(explainer.notice),
            )
        )


@app.command()
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
    with _clear_errors():
        from heatlens_cli.invoke import HandlerExplainer

        explainer = HandlerExplainer(kind=kind, colormap=colormap, alpha=alpha)
        raise typer.Exit(explain_files(images, explainer, Output(folder, force=force), max_bytes=explainer.file_bytes))


@app.command()
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
    with _clear_errors():
        from heatlens_cli.events.make_event import make_event

        try:
            made = make_event(image, kind, query=query, bucket=bucket)
        except OSError as error:
            complain(f"{image}: {error.strerror}")
            raise typer.Exit(1) from error
        say(json.dumps(made))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 selects a free one.", min=0, max=65535)] = 8000,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least level that is logged. Default: HEATLENS_LOG_LEVEL, else info.")
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Form of the log. Default: HEATLENS_LOG_FORMAT, else text.")
    ] = None,
) -> None:
    """Serve the HTTP API and its web page until interrupted."""
    with _clear_errors():
        with requires_extra("server", "serve"):
            from heatlens_cli.serve import serve_forever
        serve_forever(host, port, log_level, log_format)


What = Annotated[
    str,
    typer.Argument(help="model.toml, a file or folder of a known kind, or scheme:reference.", metavar="WHAT"),
]
Classes = Annotated[
    str | None, typer.Option(help="Class names in the order of the logits: a,b,c, a file of them, or imagenet.")
]
Outputs = Annotated[str | None, typer.Option("--output", help="softmax, sigmoid (one logit) or multilabel.")]
Architecture = Annotated[
    str | None, typer.Option(help="The network of a checkpoint: torchvision:NAME, timm:NAME, package.module:factory.")
]
Weights = Annotated[str | None, typer.Option(help="The checkpoint of a network by name, or seed:0 for a trial.")]
PreprocessText = Annotated[
    str | None, typer.Option("--preprocess", help="imagenet, or 'resize=256, crop=[224,224], mean=[…], std=[…]'.")
]
InputEntry = Annotated[
    str | None, typer.Option(help="Which input is the image, where there are several: its name or index.")
]
OutputEntry = Annotated[str | None, typer.Option(help="Which output are the logits, where there are several.")]
NoGradients = Annotated[
    bool,
    typer.Option("--no-gradients", help="For a network that cannot be differentiated: maps by Recipro-CAM alone."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other key of model.toml, such as weights_entry=ema. Repeat it for several.",
    ),
]
TargetLayers = Annotated[list[str] | None, typer.Option("--layer", help="Target layer; repeat it for several.")]


@app.command("compile")
def compile_(
    what: What,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")] = Path("model"),
    *,
    architecture: Architecture = None,
    weights: Weights = None,
    classes: Classes = None,
    output: Outputs = None,
    preprocess: PreprocessText = None,
    layer: TargetLayers = None,
    input_entry: InputEntry = None,
    output_entry: OutputEntry = None,
    settings: Settings = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; default: its file's or folder's.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the model; default: 1.")] = None,
    no_gradients: NoGradients = False,
    with_torch: Annotated[
        bool, typer.Option("--with-torch", help="Also store the weights, for the engine torch.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write the trunk in 8 bits (needs the extra int8).")
    ] = False,
    draft: Annotated[
        bool, typer.Option("--draft", help="Leave out the proof, to try things out; no server loads the result.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model folder.")] = False,
) -> None:
    """Compile a PyTorch classifier and compare it with pytorch-grad-cam (needs the extra torch)."""
    with _clear_errors():
        from heatlens_cli.inspect import agreements, proven, sanity
        from heatlens_cli.stages import Stages

        if not force and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise WouldOverwrite(f"{folder} exists: choose another --out, or --force to replace a model folder")
        options: dict[str, object] = {"architecture": architecture, "weights": weights, "classes": classes}
        options |= {"output": output, "preprocess": preprocess, "layer": layer, "name": name, "version": version}
        options |= {"gradients": False if no_gradients else None, "set": settings}
        options |= {"input_entry": input_entry, "output_entry": output_entry}
        with requires_extra("torch", "compile"):
            from heatlens_torch.loading.described import describe

            described = describe(what, options)  # before torch is loaded
            for line in described.lines():
                say(line)
            from heatlens_torch.compile import compile_described
        stages = Stages()
        card = compile_described(
            described, folder, with_torch=with_torch, int8=int8, draft=draft, progress=stages.begin
        )
        stages.begin("done")
        for line in (*proven(card), *agreements(card), *sanity(card)):
            say(line)


@app.command()
def inspect(
    what: Annotated[
        str,
        typer.Argument(help="The folder of a compiled model, or what compile takes.", metavar="WHAT"),
    ],
    *,
    architecture: Architecture = None,
    weights: Weights = None,
    classes: Classes = None,
    output: Outputs = None,
    preprocess: PreprocessText = None,
    layer: TargetLayers = None,
    input_entry: InputEntry = None,
    output_entry: OutputEntry = None,
    no_gradients: NoGradients = False,
    settings: Settings = None,
) -> None:
    """List the layers at which a network can be explained, or the facts of a compiled model."""
    with _clear_errors(), requires_extra("torch", "inspect of a model description"):
        from heatlens_cli.inspect import facts

        options: dict[str, object] = {"architecture": architecture, "weights": weights, "classes": classes}
        options |= {"gradients": False if no_gradients else None, "set": settings}
        options |= {"input_entry": input_entry, "output_entry": output_entry}
        options |= {"output": output, "preprocess": preprocess, "layer": layer}
        for line in facts(what, options):
            say(line)


@app.command("init-model")
def init_model(
    path: Annotated[Path, typer.Argument(help="File to write.", metavar="PATH")] = Path("model.toml"),
    architecture: Annotated[
        str, typer.Option(help="torchvision:NAME, litresnet-enhanced, package.module:factory, torch.export:FILE.pt2.")
    ] = "torchvision:resnet50",
) -> None:
    """Write a commented model description to fill in."""
    with _clear_errors():
        from heatlens_cli.init_model import write_template

        write_template(path, architecture)
        say(f"wrote {path}: fill it in, then heatlens inspect {path}, heatlens compile {path}")


@app.command()
def verify(
    manifest: Annotated[str, typer.Argument(help="s3://BUCKET/out/BATCH/manifest.json, or a copy on disk.")],
) -> None:
    """Recompute every digest and count in the manifest of a finished batch."""
    with _clear_errors():
        from heatlens_cli.verify.run import verify_manifest

        raise typer.Exit(verify_manifest(manifest))


@app.command()
def redrive(
    dead_letters: Annotated[
        list[str], typer.Option(help="URL of a dead-letter queue; repeat it for the other lane's.")
    ],
) -> None:
    """Re-queue the dead-letter messages of open batches and of objects below drop/."""
    with _clear_errors():
        with requires_extra("aws", "redrive"):
            from heatlens_cli.redrive import redrive_open
        raise typer.Exit(redrive_open(dead_letters))

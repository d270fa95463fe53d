"""`heatlens compile`, `inspect` and `init-model`."""

from pathlib import Path
from typing import Annotated

import typer

from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.console import say, say_row
from heatlens_cli.explain_files import WouldOverwrite
from heatlens_cli.extras import requires_extra

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


@clear_errors()
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
    from heatlens_cli.inspect import agreements, proven, sanity
    from heatlens_cli.stages import Stages

    if not force and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise WouldOverwrite(f"{folder} exists: choose another --out, or --force to replace a model folder")
    options = _options(architecture, weights, classes, output, preprocess, layer, input_entry, output_entry)
    options |= {"gradients": False if no_gradients else None, "set": settings, "name": name, "version": version}
    with requires_extra("torch", "compile"):
        from heatlens_torch.loading.described import describe

        described = describe(what, options)  # before torch is loaded
        for line in described.lines():
            say(line)
        from heatlens_torch.compile import compile_described
    stages = Stages()
    card = compile_described(described, folder, with_torch=with_torch, int8=int8, draft=draft, progress=stages.begin)
    stages.begin("done")
    for line in (*proven(card), *agreements(card), *sanity(card)):
        say_row(line, 4)


@clear_errors()
def inspect(
    what: Annotated[
        str | None,
        typer.Argument(
            help="The folder of a compiled model, or what compile takes; HEATLENS_MODEL_DIR or the demo by default.",
            metavar="[WHAT]",
        ),
    ] = None,
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
    with requires_extra("torch", "inspect of a model description"):
        from heatlens.settings import read_settings
        from heatlens_cli.inspect import facts

        options = _options(architecture, weights, classes, output, preprocess, layer, input_entry, output_entry)
        options |= {"gradients": False if no_gradients else None, "set": settings}
        for line in facts(what or read_settings().model_dir, options):
            say_row(line, 12)


@clear_errors()
def init_model(
    path: Annotated[Path, typer.Argument(help="File to write.", metavar="PATH")] = Path("model.toml"),
    architecture: Annotated[
        str, typer.Option(help="torchvision:NAME, litresnet-enhanced, package.module:factory, torch.export:FILE.pt2.")
    ] = "torchvision:resnet50",
) -> None:
    """Write a commented model description to fill in."""
    from heatlens_cli.init_model import write_template

    write_template(path, architecture)
    say(f"wrote {path}: fill it in, then heatlens inspect {path}, heatlens compile {path}")


def _options(*given: object) -> dict[str, object]:
    """Name the options that `compile` and `inspect` share."""
    names = ("architecture", "weights", "classes", "output", "preprocess", "layer", "input_entry", "output_entry")
    return dict(zip(names, given, strict=True))

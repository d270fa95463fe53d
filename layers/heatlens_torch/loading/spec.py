"""Read and validate a model description (`model.toml`), completed by what the model's own files say."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heatlens.card import Preprocess
from heatlens.errors import CompileError, ModelFileError
from heatlens.steps import Finite
from heatlens_torch.loading.sources import registry
from heatlens_torch.loading.sources.base import OWN, Facts
from heatlens_torch.loading.toml_lines import line_of

Text = Annotated[str, Field(min_length=1)]
Classes = Annotated[tuple[Text, ...], Field(min_length=2)]
Grid = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
Output = Literal["softmax", "sigmoid", "multilabel"]
PROOF_INPUTS = 32  # images whose maps the proof compares
CALIBRATION_IMAGES = 64  # the least; the proof sees no more
MOST_CALIBRATION_IMAGES = 4096
PROGRAM = "torch.export"
SEED = "seed"
TORCHVISION = "torchvision"
LITRESNET = "litresnet-enhanced"
# What an owner is asked for if it was not found: what it is, the option of the command line, the key of the TOML.
MISSING = {
    "architecture": "the network (--architecture torchvision:NAME, timm:NAME or package.module:factory; in model.toml "
    "architecture)",
    "weights": "its weights (--weights FILE, or seed:0 for a trial; in model.toml weights)",
    "classes": "the names in the order of the logits (--classes FILE, or a,b,c; in model.toml classes)",
    "output": "whether the classes exclude each other (--output softmax, sigmoid for one logit, or multilabel; in "
    "model.toml output)",
    "preprocess": "what the network was trained with (--preprocess imagenet, or 'resize=256, crop=[224,224], mean=[…], "
    "std=[…]'; in model.toml [preprocess])",
}

_TOML_PLACE = re.compile(r" \(at line (\d+), column \d+\)$")


class Reference(BaseModel):
    """An image, and the logits that the owner's own code gave for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Text = Field(description="An image file.")
    logits: Annotated[tuple[Finite, ...], Field(min_length=1)] | Text = Field(
        description="The logits in order, or a .npy file with them."
    )
    tolerance: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="The largest difference, relative to the largest logit."
    )


class Description(BaseModel):
    """What `model.toml` may say."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Heatlens model description")

    name: Text | None = Field(
        None, description="Name of the model, in the card and in every answer; default: its file's or folder's."
    )
    version: Text = Field("1", description="Version of the model, in the card and in every answer.")
    notice: str = Field("", description="Shown with every answer.")
    architecture: Text | None = Field(
        None,
        description="torchvision:NAME, litresnet-enhanced, package.module:factory, or one of the sources such as "
        "torch.export:FILE.pt2.",
    )
    arguments: dict[str, Any] | Literal["hyper_parameters"] = Field(
        default_factory=dict,
        description="Keyword arguments of the factory, or hyper_parameters: those of the checkpoint that it takes.",
    )
    weights: Text | None = Field(
        None,
        description="A .safetensors, .pt, .pth or Lightning .ckpt file beside the description; DEFAULT or another of "
        "torchvision's own weights; seed:N; or own: the factory or the file brings them, as it does without this key.",
    )
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = Field(
        None, description="The weights file's digest; another file is refused."
    )
    weights_entry: Text | None = Field(None, description="Key of the state dict, where the checkpoint has several.")
    weights_prefix: str | None = Field(
        None, description="Prefix of the network's names in the state dict, where it cannot be found."
    )
    classes: Classes | Literal["imagenet"] | None = Field(
        None, description="Class names in the order of the logits (sigmoid: negative, positive), or imagenet."
    )
    output: Output | None = Field(
        None, description="softmax: one class of several; sigmoid: one logit; multilabel: each class for itself."
    )
    output_entry: Annotated[int, Field(ge=0)] | Text | None = Field(
        None, description="Which entry of a network's answer are the logits: a key, a field, or an index."
    )
    input_entry: Annotated[int, Field(ge=0)] | Text | None = Field(
        None,
        description="Which parameter of a network's forward() takes the image: its name or index; or a key, if it "
        "takes one mapping. Default: the first.",
    )
    constants: dict[Text, Finite | tuple[Finite, ...]] = Field(
        default_factory=dict,
        description="Values of the other parameters, the same for every image: a number is [B], a list of N is [B,N].",
    )
    layer: Text | Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        None,
        description="Module path of the target layer, or several; after its activation. Without it the last that fits.",
    )
    grid: Grid | Annotated[dict[Text, Grid], Field(min_length=1)] | None = Field(
        None,
        description="Height and width of the layer's cells, where the compiler cannot find them; a table by layer for "
        "several. It is believed: the proof does not see a wrong one.",
    )
    class_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="With grid: how many of a layer's tokens come before the cells; what remains comes after them. "
        "Without it all that are no cells come before.",
    )
    gradients: bool = Field(
        True,  # noqa: FBT003 - pydantic's own signature
        description="false compiles a network that cannot be differentiated: only methods without gradients remain, "
        "and Recipro-CAM is the default.",
    )
    inputs: Text | None = Field(
        None, description="package.module:function(count) -> PIL images, for proof and calibration."
    )
    calibration_images: Annotated[int, Field(ge=CALIBRATION_IMAGES, le=MOST_CALIBRATION_IMAGES)] = Field(
        CALIBRATION_IMAGES,
        description="How many images inputs is asked for. A class is calibrated by 20 of its own and more; several "
        "hundred make quality and familiarity exact.",
    )
    evaluation: Text | None = Field(None, description="package.module:function(score) -> dict, kept in the card.")
    training: Text | None = Field(None, description="A JSON file with an object, kept in the card.")
    preprocess: Preprocess | None = Field(None, description="How an image becomes the input, in torchvision's terms.")
    reference: Reference | None = Field(
        None,
        description="An image and the logits that your own code gives for it: compile compares, and says which "
        "preprocessing would agree.",
    )

    @property
    def seed(self) -> int | None:
        """Return N of `seed:N`, else `None`."""
        scheme, _, number = (self.weights or "").partition(":")
        return int(number) if scheme == SEED and number.isdecimal() else None

    @property
    def brings_weights(self) -> bool:
        """Tell whether the architecture brings its weights: its own, or torchvision's by name."""
        torchvisions = str(self.architecture).startswith(f"{TORCHVISION}:") and str(self.weights).isidentifier()
        return self.weights == OWN or torchvisions

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the target layers, none if the compiler chooses."""
        if self.layer is None:
            return ()
        return (self.layer,) if isinstance(self.layer, str) else self.layer

    def grid_of(self, layer: str) -> tuple[int, int] | None:
        """Return height and width of a layer's grid, if the description gives them."""
        return self.grid.get(layer) if isinstance(self.grid, dict) else self.grid


class ModelSpec(Description):
    """A complete description: only the layer may be left to the compiler."""

    name: Text
    architecture: Text
    weights: Text
    classes: Classes
    output: Output
    preprocess: Preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the class names, in the order of the logits."""
        return self.classes

    @property
    def logits(self) -> int:
        """Return the number of logits: one for `sigmoid`, else one for each class."""
        return 1 if self.output == "sigmoid" else len(self.classes)


def read_spec(path: Path) -> ModelSpec:
    """Read a model description, and complete it by what the model's own files say.

    Raises:
        ModelFileError: As `read_description` and `complete`.
    """
    description = read_description(path)
    with located(path):
        return complete(description, path.parent, path.resolve().parent.name)[0]


def read_description(path: Path) -> Description:
    """Read a `model.toml`.

    Raises:
        ModelFileError: The file is missing, is not TOML, or is invalid; the message names file, line and key.
    """
    return _parse(path.name, _text(path))


def complete(description: Description, home: Path, name: str) -> tuple[ModelSpec, Facts]:
    """Complete a description by what the model's own files say; the description overrides them.

    Args:
        description: What the owner says.
        home: What its paths are relative to.
        name: The model's name where neither says one.

    Returns:
        The complete description, and what was found.

    Raises:
        ModelFileError: The files cannot be used; or a key is missing that has no default: the message names all.
    """
    _check_grid(description)
    said = description.model_fields_set
    given = {key: value for key, value in dict(description).items() if key in said and value is not None}
    found = registry.facts_of(description.architecture or "", home, given)
    _brings_its_own(description, found)
    found.keep(set(found.values) - set(given))
    spec: dict[str, Any] = {"name": name} | found.values | given
    missing = [key for key in MISSING if key not in spec]
    if missing:
        asked = [MISSING[key] + (f": {found.hints[key]}" if key in found.hints else "") for key in missing]
        raise ModelFileError(f"{', '.join(missing)}: missing: say {'; '.join(asked)}")
    if spec["classes"] == "imagenet":
        spec["classes"] = _imagenet()
    complete_spec = ModelSpec.model_validate(spec)
    _check_source(complete_spec)
    return complete_spec, found


@contextmanager
def located(path: Path) -> Iterator[None]:
    """Add file and line to an error about a key of the description."""
    with _located(path.name, _text(path)):
        yield


def read_training(path: Path) -> dict[str, Any]:
    """Read the training record, a JSON object.

    Raises:
        ModelFileError: The file is missing or not a JSON object.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"training: {path.name}: no such readable file") from error
    except ValueError as error:
        raise ModelFileError(f"training: {path.name}: not JSON") from error
    if not isinstance(record, dict):
        raise ModelFileError(f"training: {path.name}: not a JSON object")
    return record


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFileError(f"{path.resolve().name}: no such readable file") from error
    except ValueError as error:
        raise ModelFileError(f"{path.name}: not UTF-8") from error


def _parse(name: str, text: str) -> Description:
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = f":{place[1]}" if place else ""
        raise ModelFileError(f"{name}{line}: not valid TOML: {_TOML_PLACE.sub('', str(error))}") from error
    try:
        return Description.model_validate(fields)
    except ValidationError as error:
        first, *others = error.errors()
        if first["type"].endswith("_type"):  # of a union, report the member that the value's type fits
            same = (each for each in others if each["loc"][0] == first["loc"][0])
            first = next((each for each in same if not each["type"].endswith("_type")), first)
        # Pydantic inserts the names of a union's members between the keys.
        keys = tuple(part for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        message = explain(first)
        key = ".".join(map(str, keys))
        raise ModelFileError(f"{_place(name, text, keys)}: {key}: {message}") from error


def explain(error: Mapping[str, Any]) -> str:
    """Say what is wrong with a value, from pydantic's description of the error."""
    if error["type"] == "extra_forbidden":
        return "not a key of a description"
    if error["type"] == "too_short" and error["loc"][0] == "classes":
        return (
            "one name alone: output sigmoid has two, the negative class first. A network that answers a number, such "
            "as an age, is a regression: it has no classes, and cannot be compiled"
        )
    return str(error["msg"]).removeprefix("Value error, ")


def _brings_its_own(description: Description, found: Facts) -> None:
    """Count on a factory to bring its weights if none are named."""
    named = description.architecture or LITRESNET
    if description.weights is None and named != LITRESNET and registry.split(named) is None:
        found.add("weights", OWN, "the factory's")


def _check_source(spec: ModelSpec) -> None:
    checkpoint = spec.seed is None and not spec.brings_weights
    for key, given, means in (
        ("weights_entry", spec.weights_entry, checkpoint),
        ("weights_prefix", spec.weights_prefix, checkpoint),
        ("sha256", spec.sha256, spec.seed is None),
    ):
        if given is not None and not means:
            raise ModelFileError(f"{key}: says nothing of {spec.weights}: remove it")


def _check_grid(description: Description) -> None:
    if description.grid is None:
        if description.class_tokens is not None:
            raise ModelFileError("class_tokens: means nothing without grid")
        return
    if not description.layers:
        raise ModelFileError("grid: is of a layer: name it as layer")
    if isinstance(description.grid, dict):
        for name in description.grid:
            if name not in description.layers:
                raise ModelFileError(f"grid: {name!r} is not among the layers {', '.join(description.layers)}")


def _imagenet() -> tuple[str, ...]:
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


@contextmanager
def _located(name: str, text: str) -> Iterator[None]:
    try:
        yield
    except (ModelFileError, CompileError) as error:
        key = str(error).partition(":")[0].partition(",")[0]
        if key not in Description.model_fields:
            raise
        raise type(error)(f"{_place(name, text, (key,))}: {error}") from error


def _place(name: str, text: str, keys: tuple[str | int, ...]) -> str:
    line = line_of(text, keys)
    return name if line is None else f"{name}:{line}"

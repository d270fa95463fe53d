"""The card of a compiled model: folder with `card.json` and its ONNX graphs -> verified `Card`."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from heatlens.errors import CardError

CARD_FILE = "card.json"
SCHEMA_VERSION: Literal[1] = 1

Positive = Annotated[int, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Preprocess(_Frozen):
    """How an upright image becomes the model's input, in torchvision's terms and order: resize, crop, scale, normalise.

    `resize` is `[height, width]` (aspect not kept) or one number for the shorter side; `crop` is a centre crop
    `[height, width]` after it. `mean` and `std` are per channel, on values in 0..1.
    """

    resize: tuple[Positive, Positive] | Positive
    crop: tuple[Positive, Positive] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    @model_validator(mode="after")
    def _shape_is_known(self) -> Self:
        if isinstance(self.resize, int):
            if self.crop is None:
                raise ValueError("resize by the shorter side needs a crop, or the input has no fixed shape")
            if max(self.crop) > self.resize:
                raise ValueError("crop must lie within the resized image")
        elif self.crop is not None and (self.crop[0] > self.resize[0] or self.crop[1] > self.resize[1]):
            raise ValueError("crop must lie within the resized image")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the model's input, in pixels."""
        if self.crop is not None:
            return self.crop
        assert not isinstance(self.resize, int), "checked by the validator"
        return self.resize


class Layer(_Frozen):
    """A target layer compiled into the model; `shape` is `(channels, height, width)` of its activation."""

    name: str
    shape: tuple[Positive, Positive, Positive]


class Graph(_Frozen):
    """One ONNX file, its digest, and the names of its tensors in order."""

    file: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Parity(_Frozen):
    """How far the compiled explanation is from pytorch-grad-cam's: max |difference| / max |value| at the native grid.

    `signed_map` and `gradient` are the worst input's ratio, `logits` is over all inputs together; `nonempty` counts
    the inputs whose map has positive evidence.
    """

    inputs: Positive
    nonempty: int
    signed_map: float
    gradient: float
    logits: float
    threshold: float
    reference: str


class Calibration(_Frozen):
    """Distribution of the map's peak (max of the signed map, in logit units) over `images` images.

    `peak_percentiles` maps a percentile, as a string such as `"5"`, to the peak there.
    """

    images: Positive
    peak_percentiles: dict[str, float]


class TorchWeights(_Frozen):
    """What PyTorch needs to run the network itself, for its own engine.

    `architecture`, built with `arguments`, is filled with `file` and answers its logits as `output_entry`, where it
    answers more. The code of a factory (`package.module:factory`) is not in the folder and must be importable.
    """

    file: str
    sha256: str
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    output_entry: int | str | None = None


class Card(_Frozen):
    """What a compiled model is, how it was made, and the proof that it explains what it should."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    version: str
    notice: str = ""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    output: Literal["softmax", "sigmoid", "multilabel"]
    preprocess: Preprocess
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    methods: tuple[str, ...] = ("gradcam",)
    trunk: Graph
    tail: Graph
    parity: Parity
    calibration: Calibration | None = None
    torch: TorchWeights | None = None
    training: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    source: dict[str, str] = Field(default_factory=dict)
    made_with: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _classes_fit_output(self) -> Self:
        if self.output == "sigmoid" and len(self.classes) != 2:
            raise ValueError("a one-logit sigmoid model has exactly two classes: negative, positive")
        return self

    @property
    def logits(self) -> int:
        """Number of logits the tail answers: one for `sigmoid`, else one per class."""
        return 1 if self.output == "sigmoid" else len(self.classes)


def write_card(card: Card, folder: Path) -> None:
    """Write `card.json` into `folder`, keys in the order of the model, one trailing newline."""
    text = json.dumps(card.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def read_card(folder: Path) -> tuple[Card, str]:
    """Read and verify the card of a model folder.

    Returns:
        The card and the sha256 of `card.json` (hex). The card holds every graph's digest, so this one digest names
        the whole model.

    Raises:
        CardError: The folder, the card or a graph is missing, invalid, newer than this code, or altered.
    """
    path = folder / CARD_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CardError(f"no readable {CARD_FILE} in the model folder {folder.name!r}: compile one") from error
    card = _parse(raw)
    for graph in (card.trunk, card.tail):
        _verify(folder, graph)
    if card.torch is not None:
        _verify(folder, card.torch)
    return card, hashlib.sha256(raw).hexdigest()


def _parse(raw: bytes) -> Card:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{CARD_FILE} is not JSON") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CardError(f"{CARD_FILE} has schema version {version}, this code reads {SCHEMA_VERSION}: update heatlens")
    try:
        return Card.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise CardError(f"{CARD_FILE}: {where}: {first['msg']}") from error


def _verify(folder: Path, graph: Graph | TorchWeights) -> None:
    if Path(graph.file).name != graph.file:
        raise CardError(f"{CARD_FILE} names {graph.file!r}, which is not a plain file name")
    try:
        with (folder / graph.file).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CardError(f"{graph.file} is missing from the model folder {folder.name!r}") from error
    if digest != graph.sha256:
        raise CardError(f"{graph.file} is not the file its card describes (sha256 differs): compile the model again")

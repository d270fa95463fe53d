"""Read, verify and write the card of a compiled model: `card.json` beside its ONNX graphs."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from heatlens.errors import CardError
from heatlens.external_data import refers_to_files
from heatlens.input_shape import NO_SHAPE, NOT_WITHIN, Shape, shape_after
from heatlens.steps import Crop, Deviation, Normalize, Resize, Scale, Step, Values, Window
from heatlens.types import Floats, Precision

CARD_FILE = "card.json"
SCHEMA_VERSION: Literal[4] = 4
OF_LAYERS = ("trunk", "tail", "parity", "calibration")  # schema 1 has these beside its only layer
DEFAULT_METHOD = "gradcam"
WITHOUT_GRADIENTS = "reciprocam"  # the default method of a model whose tail has no gradient
DRAFT = "draft: the maps of this model were not proven; try things out with them, and rely on none"
GRADIENT = "gradient"  # the tail's second output, where it has one
SELECTOR, OWNERS = "selector", "owners"  # its last inputs then; tails of earlier versions have no owners

_SHORT_FORM = ("resize", "crop", "interpolation", "mean", "std")  # of a preprocessing
_LEAST: list[JsonValue] = ["resize", "mean", "std"]
_WITH_LAYERS = 2  # the schema version since which a layer has its own fields

Given = TypeVar("Given")
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    # Deferred: a card is read once, as a whole, and that builds the schemas of its parts.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)


class Preprocess(_Frozen):
    """How an upright image becomes the model's input: a list of `steps`, or the common list in its short form.

    The short form is torchvision's: resize, crop, scale to 0..1, normalize three channels. `resize` is
    `[height, width]` (aspect not kept) or one number for the shorter side; `crop` is a center crop `[height, width]`
    after it. `mean` and `std` are per channel, on values in 0..1.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["steps"]}, {"required": _LEAST}]})

    resize: tuple[Positive, Positive] | Positive | None = None
    crop: tuple[Positive, Positive] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] | None = None
    std: tuple[Deviation, Deviation, Deviation] | None = None
    steps: Annotated[tuple[Step, ...], Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_one_form(cls, fields: Any) -> Any:  # noqa: ANN401 - of any source
        if not isinstance(fields, dict):
            return fields
        if fields.get("steps") is None:
            if missing := [key for key in _LEAST if fields.get(key) is None]:
                raise ValueError(f"{missing[0]}: missing: give resize, mean and std, or a list of steps")
        elif short := [key for key in _SHORT_FORM if fields.get(key) is not None]:
            raise ValueError(f"{short[0]}: the steps say everything, remove it")
        return fields

    @model_validator(mode="after")
    def _shape_is_known(self) -> Self:
        if self.steps is not None:
            shape_after(self.steps)
        elif isinstance(self.resize, int) and self.crop is None:
            raise ValueError(NO_SHAPE)
        elif self.crop is not None:
            height, width = (self.resize,) * 2 if isinstance(self.resize, int) else self._given(self.resize)
            if self.crop[0] > height or self.crop[1] > width:
                raise ValueError(NOT_WITHIN)
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the form that was given."""
        form = _SHORT_FORM if self.steps is None else ("steps",)
        return {key: value for key, value in write(self).items() if key in form}

    @cached_property  # read several times for each image
    def all_steps(self) -> tuple[Step, ...]:
        """Every step, in order."""
        if self.steps is not None:
            return self.steps
        size = self._given(self.resize)
        fit: Literal["exact", "shortest"] = "shortest" if isinstance(size, int) else "exact"
        crop = (Crop(size=self.crop),) if self.crop else ()
        normalize = Normalize(mean=self._given(self.mean), std=self._given(self.std))
        return (Resize(size=size, fit=fit, interpolation=self.interpolation), *crop, Scale(), normalize)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the model's input, in pixels."""
        return self._given(self._input_shape.fixed)

    @property
    def channels(self) -> int:
        """How many channels the model's input has."""
        return self._input_shape.channels

    @property
    def window(self) -> tuple[float, float] | None:
        """Center and width, as DICOM's LINEAR, that map the model's own range of values to 0..255."""
        first = self.all_steps[0]
        if not isinstance(first, Window):
            return None
        return (first.low + first.high + 1) / 2, first.high - first.low + 1

    @property
    def values(self) -> Values | None:
        """How files are read at full depth, `None` where the model takes gray levels."""
        first = self.all_steps[0]
        return first if isinstance(first, Values) else None

    @cached_property
    def _input_shape(self) -> Shape:
        return shape_after(self.all_steps)

    @staticmethod
    def _given(value: Given | None) -> Given:
        assert value is not None, "checked by the validator"
        return value


class Graph(_Frozen):
    """One ONNX file, its digest, and the names of its tensors in order."""

    file: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def has_gradient(self) -> bool:
        """Whether a tail computes the gradient beside the logits."""
        return GRADIENT in self.outputs

    @property
    def has_owners(self) -> bool:
        """Whether a tail takes any number of selectors for an image."""
        return OWNERS in self.inputs


class Parity(_Frozen):
    """How far the compiled explanation is from the reference's: max |difference| / max |value| at the native grid.

    The reference is pytorch-grad-cam; where the tail has no gradient, it is Recipro-CAM in PyTorch, by one run of the
    network for each cell.
    `signed_map` and `gradient` are the worst input's ratio, `logits` is over all inputs together; `nonempty` counts
    the inputs whose map has positive evidence. `undecided` is how many others were set aside, because the
    reference's own explanation of them moves as far by float32's rounding alone.
    `gradient` is `None` where there is none to compare.
    """

    inputs: Positive
    nonempty: int
    undecided: Annotated[int, Field(ge=0)] = 0
    signed_map: float
    gradient: float | None = None
    logits: float
    threshold: float
    reference: str

    @property
    def largest(self) -> float:
        """The largest of the differences."""
        return max(self.signed_map, self.gradient or 0.0, self.logits)


class Agreement(_Frozen):
    """How near the explanations at a lower precision are to those in float32, over `images` images.

    Both explain the class that float32 predicts. `correlation` is Pearson's, of the signed maps: the mean over the
    images and the least. `same_maximum` is the share of images whose map has its maximum in the same cell, `pointing`
    of those where it lies there or in one of the eight cells around (the pointing game against float32's maximum), and
    `top1_kept` of those whose predicted class is the same. `engine` ran it. `evaluation` is what the description's
    function finds at this precision, where there is one.
    """

    images: Positive
    engine: str
    correlation: float
    least_correlation: float
    same_maximum: Share
    pointing: Share
    top1_kept: Share
    evaluation: dict[str, Any] | None = None


class Peaks(_Frozen):
    """Distribution of the map's peak (max of the signed map, in the method's unit) over `images` images.

    `peak_percentiles` maps a percentile, as a string such as `"5"`, to the peak there. `floor` is the lower bound of
    the 5th percentile with 95 % confidence: for few images the sample's own 5th percentile may lie far above it.
    """

    images: Positive
    peak_percentiles: dict[str, float]
    floor: float | None = None


class Calibration(Peaks):
    """Peaks of all images together, and of those that were explained for one class, by its label.

    A class with fewer than 20 images is not in `classes`.
    """

    classes: dict[str, Peaks] = Field(default_factory=dict)


class FamiliarityReference(_Frozen):
    """The features of `images` calibration images that an input's are compared with, see `explain/familiarity.py`.

    `mean_base64` has the features' mean `[F]`, `whitening_base64` the lower triangle of `W` `[F,F]`, row by row, both
    little-endian float32. `distance_percentiles` are of distances to the other calibration images, in increasing
    order. `auroc` compares those with the distances of computed images that are no model's input (`strange`), and
    `unfamiliar` is the share of each of their kinds that lies beyond the last percentile.
    """

    images: Positive
    features: Positive
    mean_base64: str
    whitening_base64: str
    distance_percentiles: dict[str, float]
    auroc: Share
    strange: Positive
    unfamiliar: dict[str, Share]

    @model_validator(mode="after")
    def _arrays_have_their_size(self) -> Self:
        count = self.features
        sizes = (len(self.mean), len(_floats(self.whitening_base64)))
        if sizes != (count, count * (count + 1) // 2):
            raise ValueError(f"the arrays do not have the size of {count} features")
        if "99.9" not in self.distance_percentiles:
            raise ValueError("the 99.9th percentile of the distances is missing")
        return self

    @property
    def mean(self) -> Floats:
        """The mean of the features, `[F]`."""
        return _floats(self.mean_base64)

    @property
    def whitening(self) -> Floats:
        """The lower triangular matrix `W`, `[F,F]`."""
        matrix = np.zeros((self.features, self.features), np.float32)
        matrix[np.tril_indices(self.features)] = _floats(self.whitening_base64)
        return matrix


class Randomised(_Frozen):
    """How alike maps stay when the weights of the upper `layers` layers are random.

    Spearman's rank correlation with the original's, the mean over images: of the signed maps, and of their absolute
    values, which do not depend on a random sign of the logit.
    """

    layers: Positive
    signed: float
    absolute: float


class Sanity(_Frozen):
    """Whether Grad-CAM depends on what was learned (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018).

    `stages` replace the weights of more and more of its `layers` layers by random ones, from the logits down; the last
    replaces all. The maps are `sensitive` if neither of its correlations reaches the threshold, in either direction;
    otherwise an untrained network would give similar maps.
    """

    images: Positive
    seed: int
    layers: Positive
    stages: Annotated[tuple[Randomised, ...], Field(min_length=1)]
    threshold: float
    sensitive: bool


class TorchWeights(_Frozen):
    """What PyTorch needs to run the network itself, for its own engine.

    `architecture`, built with `arguments`, gets the weights in `file`; of several outputs, `output_entry` is the
    logits. The code of a factory (`package.module:factory`) is not in the folder and must be importable.
    """

    file: str
    sha256: str
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    output_entry: int | str | None = None


class Tokens(_Frozen):
    """The form of a layer's own output where that is not `[B,C,h,w]`; the graphs always return `[B,C,h,w]`.

    `channels_last` is `[B,h,w,C]`. `rows` is `[B,N,C]`, the cells row by row between `before` tokens and `after` others
    that are not cells (class token, registers).
    """

    order: Literal["rows", "channels_last"]
    before: Annotated[int, Field(ge=0)] = 0
    after: Annotated[int, Field(ge=0)] = 0


class OwnerReference(_Frozen):
    """The logits that the owner's own code gave for an image, and how far ours are from them.

    `sha256` is that of the image's file; no image is stored. `difference` and `tolerance` are relative to the largest
    logit.
    """

    sha256: str
    logits: Annotated[tuple[float, ...], Field(min_length=1)]
    difference: float
    tolerance: Annotated[float, Field(gt=0)]


class Golden(_Frozen):
    """An explanation made while compiling, which a server compares with its own when it loads the model.

    `seed` generates the image and `sha256` is that of its pixels; no image is stored. `logits` `[K]` and `signed_map`
    `[h,w]`, of the predicted class by the default method, are float32, little-endian, in base64. `tolerance` is the
    largest difference in float32, relative to the largest value.
    """

    seed: int
    sha256: str
    logits: str
    signed_map: str
    tolerance: Annotated[float, Field(gt=0)]


class Cost(_Frozen):
    """How long the graphs take for one image, in milliseconds, where they were compiled.

    `trunk_ms` and `tail_ms` are of one pass, in a batch of `batch` images, as Score-CAM and Ablation-CAM run them.
    `golden_ms` is of one explanation of a single image by the default method. A server times that one at start: it is
    slower than this machine by the ratio of the two. Each is the fastest of a few runs with OpenVINO in float32.
    """

    trunk_ms: Annotated[float, Field(gt=0)]
    tail_ms: Annotated[float, Field(gt=0)]
    golden_ms: Annotated[float, Field(gt=0)]
    batch: Positive


class Layer(_Frozen):
    """A target layer, the graphs cut at it, and the proof of its maps.

    `shape` is `(channels, height, width)` of its activation as a grid; `tokens` is the network's own form of it.
    `trunk_int8` is the trunk with weights and activations of 8 bits. `agreements` are those of the measured lower
    precisions, by name.
    `parity` is `None` in a draft alone. `calibration` is of Grad-CAM's maps, `calibrations` of other methods', each in
    its own unit. `familiarity` is `None`
    where the description has no images.
    `sanity` is `None` where it was not checked, or the network has no weights. `golden` is `None` in cards that were
    made without it, or where no generated image has a steady map. `cost` is `None` in cards that were made without it.
    """

    name: str
    shape: tuple[Positive, Positive, Positive]
    tokens: Tokens | None = None
    trunk: Graph
    tail: Graph
    parity: Parity | None = None
    calibration: Calibration | None = None
    calibrations: dict[str, Calibration] = Field(default_factory=dict)
    familiarity: FamiliarityReference | None = None
    sanity: Sanity | None = None
    golden: Golden | None = None
    cost: Cost | None = None
    trunk_int8: Graph | None = None
    agreements: dict[str, Agreement] = Field(default_factory=dict)

    def graphs_at(self, precision: Precision) -> tuple[Graph, Graph]:
        """Return the trunk and tail that run at a precision.

        Raises:
            CardError: There is no trunk of 8 bits.
        """
        if precision != "int8":
            return self.trunk, self.tail
        if self.trunk_int8 is None:
            raise CardError(f"{self.name!r} has no trunk of 8 bits: compile the model again with --int8")
        return self.trunk_int8, self.tail

    def calibration_of(self, method: str) -> Calibration | None:
        """Return the calibration of a method's maps, where there is one."""
        return self.calibration if method == DEFAULT_METHOD else self.calibrations.get(method)


class OriginalProof(_Frozen):
    """How far the compiled graphs are from the owner's own file, run by `engine`: max |difference| / max |value|.

    `logits` compares logits; `answers` what the file answers, where that is their softmax or sigmoid (`end`).
    """

    engine: str
    images: Positive
    logits: float
    end: str | None = None
    answers: float | None = None
    threshold: float


class Card(_Frozen):
    """A compiled model: what it is, how it was made, and the proof of its explanations.

    The first of `layers` is the default. `combined` is how far the maps of all layers, combined as pytorch-grad-cam
    combines target layers, are from its own: the largest difference, of values in 0..1; `None` with one layer.
    `reference` compares the logits with those of the owner's own code, `None` where the description names none;
    `original` with those of the owner's own file, where another library runs it.
    `methods` are those that need only the graphs. Without `gradients` the tails compute logits alone, and only methods
    that need no gradient remain. A `draft` was not proven; no server loads it.
    `refused_by` has the engines that cannot run the graphs, each with its own words.
    """

    schema_version: Literal[4] = SCHEMA_VERSION
    name: str
    version: str
    notice: str = ""
    gradients: bool = True
    draft: bool = False
    refused_by: dict[str, str] = Field(default_factory=dict)
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    output: Literal["softmax", "sigmoid", "multilabel"]
    preprocess: Preprocess
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    methods: tuple[str, ...] = (DEFAULT_METHOD,)
    torch: TorchWeights | None = None
    combined: float | None = None
    reference: OwnerReference | None = None
    original: OriginalProof | None = None
    training: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    source: dict[str, str] = Field(default_factory=dict)
    made_with: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _classes_fit_output(self) -> Self:
        if self.output == "sigmoid" and len(self.classes) != 2:
            raise ValueError("a one-logit sigmoid model has exactly two classes: negative, positive")
        return self

    @model_validator(mode="after")
    def _layers_have_names_of_their_own(self) -> Self:
        if len({layer.name for layer in self.layers}) < len(self.layers):
            raise ValueError("two layers have the same name")
        return self

    @model_validator(mode="after")
    def _layers_are_what_the_card_says(self) -> Self:
        for layer in self.layers:
            if layer.parity is None and not self.draft:
                raise ValueError(f"layer {layer.name!r} has no parity, and this is no draft")
            if layer.tail.outputs and layer.tail.has_gradient != self.gradients:
                raise ValueError(f"the tail of layer {layer.name!r} has another answer than `gradients` says")
        return self

    @property
    def default_method(self) -> str:
        """The method of requests that name none."""
        return DEFAULT_METHOD if self.gradients else WITHOUT_GRADIENTS

    def layer(self, name: str | None = None) -> Layer:
        """Return the layer of this name, by default the first.

        Raises:
            CardError: The model was not compiled for it.
        """
        if name is None:
            return self.layers[0]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise CardError(f"there is no layer {name!r} in this model: it has {', '.join(x.name for x in self.layers)}")

    @property
    def parity(self) -> Parity:
        """The proof of the default layer.

        Raises:
            CardError: It is a draft's.
        """
        return self.proof_of(self.layers[0])

    def proof_of(self, layer: Layer) -> Parity:
        """Return the proof of a layer.

        Raises:
            CardError: The model is a draft.
        """
        if layer.parity is None:
            raise CardError(f"{self.name} is a draft: {layer.name!r} was not proven; compile it without --draft")
        return layer.parity

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the default layer."""
        return self.layers[0].calibration

    @property
    def graphs(self) -> list[Graph]:
        """Every graph of the model."""
        return [
            graph for layer in self.layers for graph in (layer.trunk, layer.tail, layer.trunk_int8) if graph is not None
        ]

    @property
    def weights(self) -> TorchWeights:
        """What PyTorch needs to run the network itself.

        Raises:
            CardError: The model was compiled without it.
        """
        if self.torch is None:
            raise CardError(f"{self.name} has no weights for PyTorch: compile it again with --with-torch")
        return self.torch

    @property
    def logits(self) -> int:
        """The number of logits: one for `sigmoid`, else one per class."""
        return 1 if self.output == "sigmoid" else len(self.classes)


def _floats(text: str) -> Floats:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64 of float32 values") from error


def write_card(card: Card, folder: Path) -> None:
    """Write `card.json` into `folder`, keys in the order of the model, one trailing newline."""
    text = json.dumps(card.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def every_file(card: Card) -> Sequence[Graph | TorchWeights]:
    """List every file of a model beside its card."""
    return [*card.graphs, card.torch] if card.torch else card.graphs


def read_card(
    folder: Path, *, files: Callable[[Card], Sequence[Graph | TorchWeights]] = every_file
) -> tuple[Card, str]:
    """Read and verify the card of a model folder.

    Args:
        folder: The model folder.
        files: Selects the files to verify; files that will not be read can be left out.

    Returns:
        The card and the sha256 of `card.json` (hex). The card holds every graph's digest, so this one digest names
        the whole model.

    Raises:
        CardError: The folder, the card or a graph is missing, invalid, newer than this code, or altered, or a graph
            keeps weights in files that its digest does not cover.
    """
    path = folder / CARD_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CardError(f"no readable {CARD_FILE} in the model folder {folder.name!r}: compile one") from error
    card = _parse(raw)
    for file in files(card):
        _verify(folder, file)
        if isinstance(file, Graph):
            _check_contained(folder, file)
    return card, hashlib.sha256(raw).hexdigest()


def _parse(raw: bytes) -> Card:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{CARD_FILE} is not JSON: compile the model again") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CardError(f"{CARD_FILE} has schema version {version}, this code reads {SCHEMA_VERSION}: update heatlens")
    try:
        return Card.model_validate_json(json.dumps(_upgraded(fields, version)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise CardError(f"{CARD_FILE}: {where}: {first['msg']}") from error


def _upgraded(fields: Any, version: Any) -> Any:  # noqa: ANN401 - of any JSON
    """Convert the fields of an earlier schema.

    Those of a schema 1 card's only layer move into the layer. Schema 2 has no list of steps, schema 3 no models
    without gradients and no drafts.
    """
    if version not in range(1, SCHEMA_VERSION):
        return fields
    rest = fields | {"schema_version": SCHEMA_VERSION}
    if version >= _WITH_LAYERS:
        return rest
    of_layer = {key: fields[key] for key in OF_LAYERS if key in fields}
    rest = {key: value for key, value in rest.items() if key not in OF_LAYERS}
    layers = fields.get("layers")
    if isinstance(layers, list) and len(layers) == 1 and isinstance(layers[0], dict):
        rest["layers"] = [layers[0] | of_layer]
    return rest


def _verify(folder: Path, record: Graph | TorchWeights) -> None:
    if Path(record.file).name != record.file:
        raise CardError(f"{CARD_FILE} names {record.file!r}, which is not a plain file name")
    try:
        with (folder / record.file).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CardError(f"{record.file} is missing from the model folder {folder.name!r}") from error
    if digest != record.sha256:
        raise CardError(f"{record.file} is not the file its card describes (sha256 differs): compile the model again")


def _check_contained(folder: Path, graph: Graph) -> None:
    """Refuse a graph that refers to further files: its digest does not cover them, but the engine would read them."""
    try:
        with (folder / graph.file).open("rb") as file:
            refers = refers_to_files(mmap(file.fileno(), 0, access=ACCESS_READ))
    except ValueError as error:
        raise CardError(f"{graph.file} is not an ONNX graph: compile the model again") from error
    if refers:
        raise CardError(f"{graph.file} keeps weights in files that its card does not cover: compile the model again")

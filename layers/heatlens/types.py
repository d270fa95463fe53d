"""The records that pass between stages, and the values that options may have."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
# left, top, right, bottom in pixels of the upright original; right and bottom are exclusive
Box = tuple[int, int, int, int]
# left, top, right, bottom as shares of a map's width and height
Part = tuple[float, float, float, float]
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
WINDOW_PATTERN = r"^-?[0-9]{1,9}(\.[0-9]{1,9})?,[0-9]{1,9}(\.[0-9]{1,9})?$"


def parse_window(text: str) -> tuple[float, float]:
    """Parse `center,width` of a query or a command line.

    Raises:
        ValueError: The text has another form.
    """
    if not re.fullmatch(WINDOW_PATTERN, text, re.ASCII):
        raise PydanticCustomError("window", "a window is centre,width, such as 40,400")
    center, width = map(float, text.split(","))
    return center, width


def _parsed(window: object) -> object:
    return parse_window(window) if isinstance(window, str) else window


def _no_truth(value: object) -> object:
    if isinstance(value, bool):  # a number to Python, but no index
        raise PydanticCustomError("class", "a class is a label, an index or top-k")
    return value


Class = Annotated[str | int, BeforeValidator(_no_truth)]
Target = Class | tuple[Class, ...]  # a tuple is a group, explained together
_Finite = Annotated[float, Field(allow_inf_nan=False)]
# Center and width, in the image's own values.
Window = Annotated[tuple[_Finite, Annotated[_Finite, Field(ge=0)]], BeforeValidator(_parsed)]
Frame = Annotated[int, Field(ge=1, le=2**31 - 1)]  # of a DICOM file, which counts its frames from 1
Colormap = Literal[
    "jet", "hot", "viridis", "turbo", "inferno", "magma", "cividis", "gray", "coolwarm", "seismic"
]  # matplotlib's names; the last two are signed
Alpha = Annotated[float, Field(ge=0.1, le=0.9, allow_inf_nan=False)]
Threshold = Annotated[float, Field(ge=0.01, le=1, allow_inf_nan=False)]
Include = Literal["overlay", "original", "heatmap", "map", "regions", "faithfulness"]
Scale = Literal["image", "absolute"]
Format = Literal["png", "jpeg", "webp"]
SUFFIXES: dict[Format, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
OriginalForm = Literal["auto", "png"]
DicomKind = Literal["sc", "seg", "heat", "pm", "sr"]
DICOM_KINDS: tuple[DicomKind, ...] = get_args(DicomKind)  # in the order in which they are written
Quality = Literal["ok", "weak", "empty"]
EngineName = Literal["auto", "openvino", "onnxruntime", "torch"]
Precision = Literal["f32", "bf16", "int8"]
LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Upload:
    """One image as it was received; `filename` is only returned to the client."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image: upright, 8 bits, mode `L` or `RGB`.

    `verbatim` is the upload's media type where the upload itself can be returned as the original, else `None`. `notes`
    are short sentences: what was assumed to read the file, which does not say it, or contradicts itself. `values` are
    the file's own, `[H,W,1]`, where they were asked for and the file has more than 8 bits. `frame` is the number of the
    decoded frame, from 1, where a DICOM file has several.
    """

    image: Image.Image
    verbatim: str | None
    notes: tuple[str, ...] = ()
    values: Floats | None = None
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a request, with their only defaults.

    `include` names what the response has (`heatmap` is the colored map alone), `format` the encoding of derived
    pictures. The `original` is the upload itself where possible (`auto`), on request without metadata, or always a PNG.
    `window` is for high-bit-depth grayscale and DICOM, `frame` is one of a DICOM file, from 1, by default the first;
    `threshold` is for regions in the heat as drawn. A number in
    `target` is an index; a text is a label, else an index, `top-k`, or a group such as `dog|cat`; a tuple is a group.
    Without `method` it is the model's: Grad-CAM, or Recipro-CAM where the model has no gradients. `model` is a name in
    the registry. `dicom` names the DICOM objects that are written of a DICOM image.
    """

    colormap: Colormap = "jet"
    alpha: Alpha = 0.4
    include: frozenset[Include] = frozenset({"overlay", "original"})
    target: tuple[Target, ...] = ()
    contrast: Class | None = None
    method: str | None = None
    layer: str | None = None
    eigen_smooth: bool = False
    aug_smooth: bool = False
    scale: Scale = "image"
    threshold: Threshold = 0.5
    format: Format = "png"
    original: OriginalForm = "auto"
    strip_original: bool = False
    window: Window | None = None
    frame: Frame | None = None
    model: str | None = None
    dicom: tuple[DicomKind, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted class; `logit` is its own, `margin` its lead over the next, both in logits."""

    label: str
    index: int
    probability: float
    logit: float
    margin: float


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How common an input is among the images that the model was calibrated on.

    `percentile` is that of its distance from them, 0 to 100; beyond the 99.9th it is 100 and the input `unfamiliar`.
    """

    percentile: float
    unfamiliar: bool


@dataclass(frozen=True, slots=True)
class Score:
    """Probability and logit of one class."""

    label: str
    index: int
    probability: float
    logit: float


@dataclass(frozen=True, slots=True)
class Scores:
    """One image's prediction and every class's score, in the order of the classes, without an explanation.

    `notes` and `frame` are the picture's. `familiarity` is `None` where the card has no reference.
    """

    width: int
    height: int
    prediction: Prediction
    classes: tuple[Score, ...]
    timings_ms: dict[str, float]
    notes: tuple[str, ...] = ()
    familiarity: Familiarity | None = None
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded image and its media type."""

    data: bytes
    media_type: str

"""Options of the inference routes, in a query, a header or a JSON body."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, FailFast, Field

from heatlens.explain.attribution import METHOD_NAMES
from heatlens.types import (
    DICOM_KINDS,
    WINDOW_PATTERN,
    Alpha,
    Colormap,
    DicomKind,
    Format,
    Frame,
    Include,
    Options,
    OriginalForm,
    Scale,
    Threshold,
    parse_window,
)


def _split(values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """`include=a,b` and `include=a&include=b` mean the same."""
    if isinstance(values, str):
        values = [values]
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return [name.strip() for value in values for name in value.split(",")]
    return values


def _listed(values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """In JSON a single value may stand without its list."""
    return [values] if isinstance(values, str | int) else values


def _or(*others: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Describe the alternatives to a list in the JSON schema."""

    def extend(schema: dict[str, Any]) -> None:
        listed = {name: schema.pop(name) for name in ("type", "items", "minItems") if name in schema}
        schema["anyOf"] = [listed, *others]

    return extend


def _names(known: Sequence[str]) -> dict[str, Any]:
    """Describe names in one text, separated by commas."""
    name = "|".join(known)
    return {"type": "string", "pattern": rf"^ *({name}) *(, *({name}) *)*$"}


def _with_plus(value: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
    """Restore an unescaped plus, which a query reads as a space; no method has a space in its name."""
    return value.replace(" ", "+") if isinstance(value, str) else value


# A number in JSON is an index, never a label.
Class = str | Annotated[int, Field(strict=True, ge=0)]
Target = Class | Annotated[list[Class], Field(min_length=1)]
# Every engine has these; some have more.
_METHODS = [{"type": "string", "enum": list(METHOD_NAMES)}, {"type": "string"}]
Method = Annotated[str, BeforeValidator(_with_plus), Field(json_schema_extra={"anyOf": _METHODS})]


def _a_window(text: str) -> str:
    parse_window(text)
    return text


WindowText = Annotated[
    str, AfterValidator(_a_window), Field(json_schema_extra={"pattern": WINDOW_PATTERN, "examples": ["40,400"]})
]


DICOM: Literal["dicom"] = "dicom"  # as `format`
CAPTURE: tuple[DicomKind, ...] = ("sc",)  # the objects of a request that names none


class ModelOptions(BaseModel):
    """Options of every inference route, in the query or as top-level keys of a JSON body."""

    model: str | None = Field(None, description="Name of a model of this server; by default the first.")
    window: WindowText | None = Field(
        None, description="center,width for DICOM and high-bit-depth grayscale, in place of their own."
    )
    frame: Frame | None = Field(None, description="A frame of DICOM files, from 1; by default the first.")

    def over(self, weaker: "ModelOptions | None") -> Options:
        """Return these options where they were given, else those of `weaker`, else the defaults."""
        known = {option.name for option in fields(Options)}
        given = weaker.model_dump(include=weaker.model_fields_set & known) if weaker else {}
        given |= self.model_dump(include=self.model_fields_set & known)
        if "include" in given:
            given["include"] = frozenset(given["include"])
        if "target" in given:
            given["target"] = tuple(tuple(each) if isinstance(each, list) else each for each in given["target"])
        if given.get("window") is not None:
            given["window"] = parse_window(given["window"])
        if given.get("format") == DICOM:
            given |= {"format": "png", "dicom": given.get("dicom") or CAPTURE}
        if "dicom" in given:
            given["dicom"] = tuple(kind for kind in DICOM_KINDS if kind in given["dicom"])
        return Options(**given)


class HeatmapOptions(ModelOptions):
    """Options of the heatmap endpoints."""

    colormap: Colormap = Field("jet", description="Color scheme of the heatmap.")
    alpha: Alpha = Field(0.4, description="Weight of the heat in the overlay.")
    include: Annotated[list[Include], FailFast(), BeforeValidator(_split), Field(min_length=1)] = Field(
        ["overlay", "original"],
        description="What the response contains, repeated or separated by commas; `heatmap` is the colored map alone.",
        json_schema_extra=_or(_names(get_args(Include))),
    )
    target: Annotated[list[Target], FailFast(), BeforeValidator(_listed)] = Field(
        [],
        description="Classes to explain: labels, indices, the best as top-1, top-2, …, or a group as dog|cat; "
        "by default the predicted class.",
        json_schema_extra=_or({"type": "string"}, {"type": "integer", "minimum": 0}),
    )
    contrast: Class | None = Field(None, description="A class whose logit is subtracted from each target's.")
    method: Method | None = Field(
        None,
        description="CAM method; the models' cards list those available. By default gradcam, or reciprocam if the "
        "model has no gradients.",
    )
    layer: str | None = Field(None, description="A layer in the model's card; by default the first.")
    scale: Scale = Field("image", description="Scale each map to its own maximum, or to the calibration set's.")
    threshold: Threshold = Field(0.5, description="Heat, as drawn, from which a region begins.")
    eigen_smooth: bool = Field(default=False, description="Project on the first principal component.")
    aug_smooth: bool = Field(default=False, description="Average over the image brighter, darker and mirrored.")
    format: Literal[Format, "dicom"] = Field(
        "png", description="Format of overlay and colored map; only `png` is lossless. `dicom` is `png` and `dicom=sc`."
    )
    original: OriginalForm = Field(
        "auto", description="`auto`: the upload itself where it is an upright 8-bit PNG or JPEG, else a PNG."
    )
    strip_original: bool = Field(
        default=False, description="Remove metadata from an original that is the upload itself."
    )
    dicom: Annotated[list[DicomKind], FailFast(), BeforeValidator(_split)] = Field(
        [],
        description="DICOM objects to write of a DICOM image, repeated or separated by commas: Secondary Capture `sc`, "
        "Segmentation `seg`, fractional Segmentation `heat`, Parametric Map `pm`, Structured Report `sr`.",
        json_schema_extra=_or(_names(DICOM_KINDS)),
    )


LISTS = {"include", "target", "dicom"}  # options that a query may repeat

"""What the API answers about images, with its own names; pictures and maps are decoded when they are asked for."""

import base64
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from PIL import Image
from pydantic import Field

from heatlens.client.errors import ApiError, class_of
from heatlens.evaluate.faithfulness import Faithfulness
from heatlens.evaluate.regions import Regions
from heatlens.types import Box, DicomKind, Familiarity, Floats, Part, Prediction, Quality, Score

_PNG = b"\x89PNG"
_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model and the computation that made an answer."""

    name: str
    version: str
    sha256: str
    layer: str
    method: str
    engine: str
    precision: str
    notice: str
    image: str = ""


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """A signed map before ReLU at the layer's own grid; `values` has it as an array."""

    shape: tuple[int, int]
    data_base64: str
    box: Box
    dtype: Literal["float32"] = "float32"
    order: Literal["C"] = "C"
    part: Part | None = None

    @property
    def values(self) -> Floats:
        """Return the map, float32 `[h, w]`."""
        return np.frombuffer(base64.b64decode(self.data_base64), "<f4").reshape(self.shape).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ExplainedClass:
    """The class that a heatmap explains; of a group `members` has each class, and `index` is `None`."""

    label: str
    index: int | None
    probability: float
    logit: float
    contrast: str | None = None
    members: list[Score] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class DicomFile:
    """One DICOM object of an answer, of the class `label`; `data` has the bytes of its file."""

    kind: DicomKind
    label: str
    sop_class_uid: str
    sop_instance_uid: str
    data_base64: str

    @property
    def data(self) -> bytes:
        """The file."""
        return base64.b64decode(self.data_base64)

    def __repr__(self) -> str:
        """Describe the object in one line."""
        return f"<DicomFile {self.kind} of {self.label}: {self.sop_instance_uid}>"


class _Fields(Protocol):
    """The fields from which the pictures of an answer are decoded."""

    @property
    def heatmap_base64(self) -> str | None: ...
    @property
    def map_image_base64(self) -> str | None: ...
    @property
    def raw_map(self) -> MapAnswer | None: ...


class Pictures:
    """The pictures and the map of an answer.

    Each raises `ValueError` if `include` left it out.
    """

    __slots__ = ()

    @property
    def overlay_bytes(self: _Fields) -> bytes:
        """The heatmap blended over the original, as the file that the server encoded."""
        return _decoded(self.heatmap_base64, "overlay")

    @property
    def overlay(self: _Fields) -> Image.Image:
        """The heatmap blended over the original, at the original's size."""
        return _opened(_decoded(self.heatmap_base64, "overlay"))

    @property
    def png(self: _Fields) -> bytes:
        """The overlay as a PNG file."""
        data = _decoded(self.heatmap_base64, "overlay")
        if data.startswith(_PNG):
            return data
        file = io.BytesIO()
        _opened(data).save(file, "PNG")
        return file.getvalue()

    @property
    def map_image(self: _Fields) -> Image.Image:
        """The colored map alone, at the original's size."""
        return _opened(_decoded(self.map_image_base64, "heatmap"))

    @property
    def map(self: _Fields) -> Floats:
        """The signed map before ReLU, float32 `[h, w]` at the layer's own grid, in units of the explained logit."""
        if self.raw_map is None:
            raise _left_out("map")
        return self.raw_map.values


@dataclass(frozen=True, slots=True, repr=False)
class TargetResult(Pictures):
    """One of several targets of an image."""

    label: str
    index: int | None
    probability: float
    logit: float
    quality: Quality
    contrast: str | None = None
    members: list[Score] | None = None
    heatmap_base64: str | None = None
    map_image_base64: str | None = None
    raw_map: Annotated[MapAnswer | None, Field(alias="map")] = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None

    def __repr__(self) -> str:
        """Describe the target in one line."""
        return f"<TargetResult of {self.label} {self.probability:.4f}, map {self.quality}>"


@dataclass(frozen=True, slots=True, repr=False)
class HeatmapResult(Pictures):
    """The heatmap of one image; fields are named as in the API's answer, but `raw_map` is its `map`.

    `prediction` is the predicted class, `explained` the class of heatmap and map, `explanations` every target if there
    are several. `box` is the part of the original that the model saw. `dicom` are the objects that the options name.
    """

    filename: str
    width: int
    height: int
    box: Box
    prediction: Prediction
    explained: ExplainedClass
    quality: Quality
    timings_ms: dict[str, float]
    processing_time_ms: float
    model: ModelFacts
    request_id: str
    success: Literal[True] = True
    notes: list[str] | None = None
    part: Part | None = None
    familiarity: Familiarity | None = None
    frame: int | None = None
    media_type: str | None = None
    heatmap_base64: str | None = None
    original_image_base64: str | None = None
    original_media_type: str | None = None
    map_image_base64: str | None = None
    raw_map: Annotated[MapAnswer | None, Field(alias="map")] = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None
    explanations: list[TargetResult] | None = None
    dicom: list[DicomFile] | None = None

    @property
    def original_bytes(self) -> bytes:
        """The original, as the file that the server answered."""
        return _decoded(self.original_image_base64, "original")

    @property
    def suffix(self) -> str:
        """The suffix of a file with `overlay_bytes`, such as `.png`."""
        return _SUFFIXES.get(self.media_type or "", ".png")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file: `.npy` the signed map, `.json` `to_dict()`, any other suffix the overlay by Pillow.

        An existing file is replaced.

        Raises:
            ValueError: `include` left it out, or Pillow has no format of this suffix.
            OSError: The file cannot be written.
        """
        target = Path(path)
        if target.suffix == ".npy":
            np.save(target, self.map)
        elif target.suffix == ".json":
            target.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
        elif target.suffix == self.suffix:
            target.write_bytes(self.overlay_bytes)
        else:
            self.overlay.save(target)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON values; the signed map is a list of rows."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def __repr__(self) -> str:
        """Describe the result in one line."""
        return (
            f"<HeatmapResult of {self.filename}: {self.prediction.label} {self.prediction.probability:.4f}, "
            f"map of {self.explained.label} {self.quality}>"
        )

    def _repr_png_(self) -> bytes | None:
        """Show the overlay in a notebook."""
        return None if self.heatmap_base64 is None else self.png


@dataclass(frozen=True, slots=True)
class PredictResult:
    """The scores of one image: its prediction, and every class in the model's order."""

    filename: str
    width: int
    height: int
    prediction: Prediction
    classes: list[Score]
    timings_ms: dict[str, float]
    processing_time_ms: float
    model: ModelFacts
    request_id: str
    success: Literal[True] = True
    notes: list[str] | None = None
    familiarity: Familiarity | None = None
    frame: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True, slots=True)
class SeveralAnswers:
    """The answer for several images; a failed one has `error` and `code`."""

    results: list[dict[str, Any]]
    model: dict[str, Any]
    request_id: str
    total_processing_time_ms: float
    succeeded: int
    failed: int
    success: Literal[True] = True

    def outcomes(self) -> Iterator[dict[str, Any] | ApiError]:
        """Yield each image's answer as that of a single image, or its error."""
        for each in self.results:
            if each.get("success"):
                answer = {name: value for name, value in each.items() if name not in ("error", "code")}
                yield answer | {"model": self.model, "request_id": self.request_id}
            else:
                yield _failure(each, self.request_id)


def _failure(item: dict[str, Any], request_id: str) -> ApiError:
    code = str(item.get("code") or "")
    return class_of(code, None)(f"{item.get('filename')}: {item.get('error')}", code=code, request_id=request_id)


def _decoded(text: str | None, name: str) -> bytes:
    if text is None:
        raise _left_out(name)
    return base64.b64decode(text)


def _left_out(name: str) -> ValueError:
    return ValueError(f"the answer has no {name}: add it to include")


def _opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field
    """Convert an answer to JSON values, without encoded pictures."""
    if isinstance(value, MapAnswer):
        return value.values.tolist()
    if is_dataclass(value):
        named = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {
            name.removeprefix("raw_"): _plain(own)
            for name, own in named
            if not name.endswith(("_base64", "media_type"))
        }
    if isinstance(value, dict):
        return {name: _plain(own) for name, own in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value

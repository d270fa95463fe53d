"""Read an endpoint's JSON response as the core's own results, or as the code and detail of a failure.

The fields are those of the API's `HeatmapResponse` and `Problem` that the worker needs.
"""

import base64
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from heatlens.evaluate.faithfulness import Faithfulness
from heatlens.evaluate.regions import Regions
from heatlens.input.dicom_signature import is_dicom
from heatlens.render.encode import MEDIA_TYPES
from heatlens.results import DicomObject, Explained, Explanation
from heatlens.types import (
    Box,
    DicomKind,
    Encoded,
    Familiarity,
    Floats,
    Format,
    Frame,
    Options,
    Part,
    Prediction,
    Quality,
    Score,
)
from heatlens_web.schemas.answer import ModelAnswer

# The first bytes of each format, and those from the ninth on; a length between them is not checked.
_SIGNATURES: dict[Format, tuple[bytes, bytes]] = {
    "png": (b"\x89PNG\r\n\x1a\n", b""),
    "jpeg": (b"\xff\xd8\xff", b""),
    "webp": (b"RIFF", b"WEBP"),
}


class Failure(BaseModel):
    """Why there is no result."""

    code: str = Field(pattern="^[a-z_.]{1,40}$")
    detail: str


class Map(BaseModel):
    """The signed map: little-endian float32 in C order, base64."""

    shape: tuple[int, int]
    dtype: Literal["float32"]
    order: Literal["C"]
    data_base64: str

    def values(self) -> Floats:
        """Decode the map.

        Raises:
            ValueError: It is empty, does not fit its shape, or has values that are not finite.
        """
        data = base64.b64decode(self.data_base64, validate=True)
        signed_map = np.frombuffer(data, "<f4").reshape(self.shape).astype(np.float32)
        if not (signed_map.size and np.isfinite(signed_map).all()):
            raise ValueError("the map is empty or has values that are not finite")
        return signed_map


class ExplainedClass(BaseModel):
    """The explained class."""

    label: str
    index: int | None
    probability: float
    logit: float
    contrast: str | None
    members: tuple[Score, ...] | None = None


class WrittenObject(BaseModel):
    """One DICOM object, base64."""

    kind: DicomKind
    label: str
    sop_class_uid: str
    sop_instance_uid: str
    data_base64: str

    def decoded(self) -> DicomObject:
        """Convert to the core's type.

        Raises:
            ValueError: It is not DICOM.
        """
        data = base64.b64decode(self.data_base64, validate=True)
        if not is_dicom(data):
            raise ValueError(f"the object {self.kind} is not DICOM")
        return DicomObject(self.kind, 0, self.label, self.sop_class_uid, self.sop_instance_uid, data)


class EndpointResponse(BaseModel):
    """One explained image."""

    heatmap_base64: str | None
    map_image_base64: str | None = None
    media_type: str | None
    width: int
    height: int
    box: Box
    part: Part | None = None
    prediction: Prediction
    explained: ExplainedClass
    quality: Quality
    familiarity: Familiarity | None = None
    map: Map
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None
    dicom: list[WrittenObject] | None = None
    timings_ms: dict[str, float]
    notes: list[str] = []
    frame: Frame | None = None
    model: ModelAnswer

    def explanation(self, options: Options) -> Explanation:
        """Convert to the core's type.

        Raises:
            ValueError: Something that the options include is missing or of another format.
        """
        return Explanation(
            width=self.width,
            height=self.height,
            box=self.box,
            part=self.part,
            prediction=self.prediction,
            explained=(
                Explained(
                    label=self.explained.label,
                    index=self.explained.index,
                    probability=self.explained.probability,
                    logit=self.explained.logit,
                    contrast=self.explained.contrast,
                    members=self.explained.members,
                    regions=self.regions,
                    faithfulness=self.faithfulness,
                    signed_map=self.map.values(),
                    quality=self.quality,
                    overlay=self._picture(self.heatmap_base64, options) if "overlay" in options.include else None,
                    map_image=self._picture(self.map_image_base64, options) if "heatmap" in options.include else None,
                ),
            ),
            original=None,
            timings_ms=self.timings_ms,
            notes=tuple(self.notes),
            familiarity=self.familiarity,
            frame=self.frame,
            dicom=self._objects(options),
        )

    def _objects(self, options: Options) -> tuple[DicomObject, ...]:
        objects = tuple(each.decoded() for each in self.dicom or ())
        if tuple(each.kind for each in objects) != options.dicom:
            raise ValueError("the DICOM objects are not those that the options name")
        return objects

    def _picture(self, text: str | None, options: Options) -> Encoded:
        data = base64.b64decode(text or "", validate=True)
        first, second = _SIGNATURES[options.format]
        media_type = MEDIA_TYPES[options.format]
        if self.media_type != media_type or not (data.startswith(first) and data[8:].startswith(second)):
            raise ValueError(f"the picture is not {media_type}")
        return Encoded(data, media_type)

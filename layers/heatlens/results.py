"""The results of the pipeline for one image: its prediction, and each explained class."""

import base64
import html
import io
import json
import os
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from heatlens.errors import HeatlensError
from heatlens.evaluate.faithfulness import Faithfulness
from heatlens.evaluate.regions import Regions
from heatlens.explain.absolute_scale import scaled_heat
from heatlens.render.encode import MEDIA_TYPES, encode
from heatlens.render.enlarge import HALF, LEVELS, exact_levels
from heatlens.types import (
    WHOLE,
    Box,
    DicomKind,
    Encoded,
    Familiarity,
    Floats,
    Format,
    Frame,
    Part,
    Prediction,
    Quality,
    Score,
)

_FORMS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True, slots=True)
class Explained:
    """One explained target of one image; `probability` and `logit` are its own, also where it has a `contrast`.

    Of a group of classes `label` has all labels, joined by `|`, `index` is `None`, and `members` has each class.

    `signed_map` is float32 `[h, w]` at the layer's own grid, before ReLU, in logit units where the method has them;
    with `aug_smooth` it is the smoothed heat in 0..1 at the size of the network's input. `overlay` is `None` where
    the options left it out. `full_heat` is the value that is drawn as full heat, `None` for the map's own maximum.
    """

    label: str
    index: int | None
    probability: float
    logit: float
    signed_map: Floats
    quality: Quality
    overlay: Encoded | None
    contrast: str | None = None
    map_image: Encoded | None = None
    regions: Regions | None = None
    faithfulness: Faithfulness | None = None
    members: tuple[Score, ...] | None = None
    full_heat: float | None = None


@dataclass(frozen=True, slots=True)
class DicomObject:
    """One object, of one explained class: a complete file in `data`, Explicit VR Little Endian.

    `place` is that of its class in `Explanation.explained`.
    """

    kind: DicomKind
    place: int
    label: str
    sop_class_uid: str
    sop_instance_uid: str
    data: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """The explanation of one image.

    `explained` has each target, in the order of the options; `box` is the part of the original that the model
    saw. `part` is the part of each map that lies over it, as shares of the map's sides; `None` if all does, else the
    rest lies over padding. `original` is `None` where the options left it out; `timings_ms` is per stage, trunk, tail
    and cam being this image's share of its batch; `notes` say what was assumed to read the file. `familiarity` is the
    input's, whatever the maps look like; `None` where the card has no reference. `frame` is the number of the explained
    frame, from 1, where a DICOM file has several. `dicom` are the DICOM objects that the options name.
    """

    width: int
    height: int
    box: Box
    prediction: Prediction
    explained: tuple[Explained, ...]
    original: Encoded | None
    timings_ms: dict[str, float]
    notes: tuple[str, ...] = ()
    familiarity: Familiarity | None = None
    part: Part | None = None
    frame: Frame | None = None
    dicom: tuple[DicomObject, ...] = ()

    @property
    def signed_map(self) -> Floats:
        """The first target's map."""
        return self.explained[0].signed_map

    @property
    def quality(self) -> Quality:
        """The quality of the first target's map."""
        return self.explained[0].quality

    @property
    def overlay(self) -> Encoded | None:
        """The first target's overlay."""
        return self.explained[0].overlay

    @property
    def map_image(self) -> Encoded | None:
        """The first target's colored map alone."""
        return self.explained[0].map_image

    @property
    def png(self) -> bytes:
        """The overlay as a PNG file: the colored map blended over the original, at the original's size.

        Raises:
            ValueError: The options left it out.
        """
        return self._overlay_as("png")

    @property
    def heat(self) -> Floats:
        """The first target's positive evidence in 0..1 as drawn, float32 `[height, width]`; 0 where nothing was seen.

        It is the map enlarged bilinearly, before it is rounded to the 256 levels of a colormap.
        """
        first, (left, top, right, bottom) = self.explained[0], self.box
        levels = exact_levels(
            scaled_heat(first.signed_map, first.full_heat), (right - left, bottom - top), self.part or WHOLE
        )
        heat = np.zeros((self.height, self.width), np.float32)
        heat[top:bottom, left:right] = np.clip((levels - HALF) / LEVELS, 0, 1)
        return heat

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the first target to a file: `.png`, `.jpg` or `.webp` its overlay, `.npy` its signed map, `.json` all.

        An existing file is replaced. `.json` has `to_dict()`.

        Raises:
            ValueError: Another suffix, or the options left the overlay out.
            OSError: The file cannot be written.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix == ".npy":
            np.save(target, self.signed_map)
        elif suffix == ".json":
            target.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
        elif suffix in _FORMS:
            target.write_bytes(self._overlay_as(_FORMS[suffix]))
        else:
            raise ValueError(
                f"{target.name}: unknown suffix {suffix!r}: one of {', '.join([*_FORMS, '.npy', '.json'])}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but pictures and DICOM objects as JSON values; a signed map is a list of rows."""
        plain: dict[str, Any] = _plain(replace(self, dicom=()))
        del plain["dicom"]
        return plain

    def __repr__(self) -> str:
        """Describe the explanation in one line."""
        first, prediction = self.explained[0], self.prediction
        more = f" and {len(self.explained) - 1} more" if len(self.explained) > 1 else ""
        rows, columns = first.signed_map.shape
        return (
            f"<Explanation of {self.width} x {self.height} pixels: {prediction.label} {prediction.probability:.4f}, "
            f"map of {first.label} {rows} x {columns} {first.quality}{more}>"
        )

    def _repr_png_(self) -> bytes | None:
        """Show the overlay in a notebook."""
        return None if self.overlay is None else self.png

    def _repr_html_(self) -> str:
        """Show every overlay in a notebook, with its class and quality."""
        shown = [_figure(each) for each in self.explained]
        predicted = f"{html.escape(self.prediction.label)} {self.prediction.probability:.4f}"
        return f"<div><p>Predicted: <b>{predicted}</b></p>{''.join(shown)}</div>"

    def _overlay_as(self, form: Format) -> bytes:
        if self.overlay is None:
            raise ValueError("this explanation has no overlay: call explain with overlay=True")
        if self.overlay.media_type == MEDIA_TYPES[form]:
            return self.overlay.data
        with Image.open(io.BytesIO(self.overlay.data)) as image:
            return encode(image.convert("RGB"), form).data


Outcome = Explanation | HeatlensError  # of one image


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field
    """Convert a result to JSON values, without encoded pictures."""
    if is_dataclass(value):
        named = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {name: _plain(own) for name, own in named if not isinstance(own, Encoded)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(own) for name, own in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _figure(explained: Explained) -> str:
    caption = html.escape(f"{explained.label} {explained.probability:.4f}, map {explained.quality}")
    if explained.overlay is None:
        return f"<p>{caption}</p>"
    picture = base64.b64encode(explained.overlay.data).decode()
    source = f"data:{explained.overlay.media_type};base64,{picture}"
    return (
        f'<figure style="display:inline-block;margin:4px"><img src="{source}" alt="{caption}" '
        f'style="max-width:360px"><figcaption>{caption}</figcaption></figure>'
    )


def npy(signed_map: Floats) -> bytes:
    """Encode a map as an `.npy` file: little-endian float32 in C order on every machine."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(signed_map, dtype="<f4"), allow_pickle=False)
    return buffer.getvalue()

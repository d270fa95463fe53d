"""Read what exporters write into the metadata of an ONNX file: labels, preprocessing, the task."""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from heatlens.errors import ModelFileError
from heatlens_torch.loading.labels import ordered

# `names` is ultralytics', `character` RapidOCR's; the others are what people write.
LABELS = (
    *("names", "labels", "class_names", "classes", "class_labels", "label_names", "id2label", "categories"),
    "character",
)
MEANS, DEVIATIONS = ("mean", "image_mean", "norm_mean"), ("std", "image_std", "norm_std")
CLASSIFY = "classify"  # ultralytics' task; others are detect, segment, pose and obb
PIXEL_FORMAT, PIXEL_RANGE = "image.bitmappixelformat", "image.nominalpixelrange"  # of ONNX's own specification
RANGES = {"nominalrange_0_255": "0 to 255", "normalized_0_1": "0 to 1", "normalized_1_1": "-1 to 1"}
RANGES |= {"nominalrange_16_235": "16 to 235"}
LONGEST = 10_000_000  # characters of a value that is read


@dataclass(frozen=True, slots=True)
class Noted:
    """A value, and the key that it was found under."""

    value: Any
    key: str


def read_metadata(model: ModelProto) -> dict[str, str]:
    """Return the metadata of a file; keys are in lower case."""
    return {entry.key.lower(): entry.value for entry in model.metadata_props if len(entry.value) <= LONGEST}


def labels_in(metadata: Mapping[str, str]) -> Noted | None:
    """Find the class names: a list or mapping as JSON or as Python writes it, or names on lines or with commas."""
    for key in LABELS:
        names = _names(metadata[key]) if metadata.get(key) else None
        if names and len(names) > 1:
            return Noted(names, key)
    return None


def numbers_in(metadata: Mapping[str, str], keys: Sequence[str]) -> Noted | None:
    """Find one number or several, as a list or with commas."""
    for key in keys:
        value = _parsed(metadata.get(key, ""))
        value = value if isinstance(value, list | tuple) else [value]
        if value and all(isinstance(each, int | float) and not isinstance(each, bool) for each in value):
            return Noted([float(each) for each in value], key)
    return None


def size_in(metadata: Mapping[str, str]) -> list[int] | None:
    """Return height and width, as ultralytics writes them."""
    found = numbers_in(metadata, ("imgsz",))
    if found is None:
        return None
    numbers = [int(each) for each in found.value]
    return numbers * 2 if len(numbers) == 1 else numbers


def check_task(metadata: Mapping[str, str], name: str) -> None:
    """Refuse a network whose file says that it does not classify.

    Raises:
        ModelFileError: It detects, segments or finds poses.
    """
    task = metadata.get("task", "").strip().lower()
    known = ("detect", "segment", "pose", "obb", "detection", "segmentation", "object-detection")
    if task in known:
        raise ModelFileError(
            f"architecture: {name} is a network for the task {task!r} (metadata task), and maps explain classes: "
            "compile a classifier, such as yolo's -cls models"
        )


def is_bgr(metadata: Mapping[str, str]) -> bool | None:
    """Tell the order of channels, `None` if the file does not say it."""
    kind = metadata.get(PIXEL_FORMAT, "").lower()
    return kind.startswith("bgr") if kind.startswith(("bgr", "rgb")) else None


def _names(text: str) -> list[str] | None:
    value = _parsed(text)
    if isinstance(value, dict):
        return ordered(value)
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if len(lines) > 1 else [part.strip() for part in text.split(",") if part.strip()]


def _parsed(text: str) -> Any:  # noqa: ANN401 - of the file
    """Read JSON or a literal of Python; `None` for other text. Nothing is run."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None

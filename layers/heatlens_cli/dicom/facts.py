"""Read of an instance what rules ask for; nothing that names a patient."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from heatlens.errors import UnreadableImage
from heatlens.input.dicom.details import without_details
from heatlens.input.dicom.parse import read

KEYWORDS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
    *("Modality", "BodyPartExamined", "ViewPosition", "ImageType", "Manufacturer", "ManufacturerModelName"),
)
_VALUES = "\\"  # separates the values of one element
_MOST_PIXELS = 100_000_000  # bounds what a deflated file may unpack to


@dataclass(frozen=True, slots=True)
class Facts:
    """Where an instance belongs, and what kind of image it is; codes are in capitals, missing ones are empty."""

    study: str = ""
    series: str = ""
    instance: str = ""
    sop_class: str = ""
    modality: str = ""
    body_part: str = ""
    view_position: str = ""
    image_type: tuple[str, ...] = ()
    manufacturer: str = ""
    model_name: str = ""

    @classmethod
    def of_tags(cls, tags: Mapping[str, Any]) -> Self:
        """Take the facts from values by keyword; of several values in one text, a backslash is between them."""
        study, series, instance, sop_class, *codes = (_text(tags.get(keyword)) for keyword in KEYWORDS)
        modality, body_part, view_position, image_type, manufacturer, model_name = (code.upper() for code in codes)
        values = tuple(value.strip() for value in image_type.split(_VALUES)) if image_type else ()
        return cls(
            study, series, instance, sop_class, modality, body_part, view_position, values, manufacturer, model_name
        )


def read_facts(data: bytes) -> Facts:
    """Read the facts of a DICOM file; other elements are skipped without parsing.

    Raises:
        UnreadableImage: The file is damaged.
    """

    def read_tags() -> Facts:
        found = read(data, KEYWORDS, [], max_pixels=_MOST_PIXELS)
        return Facts.of_tags({keyword: found.get(keyword) for keyword in KEYWORDS})

    return without_details(read_tags, lambda: UnreadableImage("the DICOM file is damaged"))


def _text(value: object) -> str:
    if value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return _VALUES.join(map(str, value))
    return str(value).strip(" \0")

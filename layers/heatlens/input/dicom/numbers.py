"""Read numbers that a DICOM file keeps as text, as its writers wrote them: blank, with decimal commas, or as words."""

import re
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

Notes = list[str]
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_BINARY_VRS = frozenset(["FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"])
COMMAS = "A decimal comma was read as a point."


def add_note(notes: Notes, note: str) -> None:
    """Add a sentence, once."""
    if note not in notes:
        notes.append(note)


def first_number(dataset: Dataset, keyword: str, notes: Notes) -> float | None:
    """Read the value, or the first of several.

    Args:
        dataset: The file's, or an item of a sequence.
        keyword: The element.
        notes: Receives a sentence where a decimal comma was read.

    Returns:
        The number; NaN for a text that is none; `None` where the element is missing or blank.
    """
    text = _first_text(dataset, keyword)
    if not text:
        return None
    if "," in text:
        add_note(notes, COMMAS)
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else float("nan")


def _first_text(dataset: Dataset, keyword: str) -> str:
    """Return the first value without converting it: the library raises an error for what is no number."""
    if keyword not in dataset:
        return ""
    element: Any = dataset.get_item(Tag(keyword))
    if isinstance(element, RawDataElement) and element.VR not in _BINARY_VRS:
        first = (element.value or b"").split(b"\\")[0].decode("ascii", "replace")
    else:
        values = dataset[keyword].value
        first = str(values[0] if dataset[keyword].VM > 1 else "" if values is None else values)
    return first.strip(" \0\t\r\n")

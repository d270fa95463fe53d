"""Read class names from what owners keep them in."""

import json
from collections.abc import Mapping
from pathlib import Path

from heatlens.errors import ModelFileError

IMAGENET = "imagenet"


def read_labels(text: str) -> str | list[str]:
    """Read `--classes`: a file of names (a line each, or JSON), names with commas between them, or `imagenet`.

    Raises:
        ModelFileError: The file cannot be read, or holds no names.
    """
    if text == IMAGENET:
        return text
    path = Path(text)
    if path.is_file():
        return _of_file(path)
    if "," not in text:
        raise ModelFileError(f"classes: {text!r} is neither a file nor several names with commas between them")
    return [name.strip() for name in text.split(",")]


def ordered(mapping: Mapping[object, object]) -> list[str] | None:
    """Order the names of an index-to-name or name-to-index mapping; `None` if it is neither."""
    for pairs in (mapping.items(), ((value, key) for key, value in mapping.items())):
        try:
            names = {int(str(index)): name for index, name in pairs}
        except ValueError:
            continue
        if sorted(names) == list(range(len(names))) and all(isinstance(name, str) for name in names.values()):
            return [str(names[index]) for index in range(len(names))]
    return None


def _of_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelFileError(f"classes: {path.name} is not a readable text file") from error
    if path.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ModelFileError(f"classes: {path.name} is not JSON") from error
    content = content.get("id2label", content) if isinstance(content, dict) else content
    names = ordered(content) if isinstance(content, dict) else content
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelFileError(f"classes: {path.name} holds neither a list of names nor a mapping of indices and names")
    return names

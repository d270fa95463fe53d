"""From WHAT an owner names to a complete description: a `model.toml`, `scheme:reference`, or a path that is recognized.

Nothing here loads torch, so that mistakes are reported at once. Sources that need it to find facts load it themselves.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from heatlens.errors import ModelFileError
from heatlens_torch.loading.labels import read_labels
from heatlens_torch.loading.sources import recognize, registry
from heatlens_torch.loading.sources.base import Facts
from heatlens_torch.loading.spec import Description, ModelSpec, complete, explain, located, read_description

TOML = ".toml"
# What `--preprocess NAME` means: torchvision's and timm's evaluation on ImageNet.
PREPROCESS = {
    "imagenet": "resize = 256, crop = [224, 224], mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]",
}
ENTRIES = ("input_entry", "output_entry")  # names, or indexes
KEYS = sorted(Description.model_fields)


@dataclass(frozen=True, slots=True)
class Described:
    """A complete description, the folder that its paths are relative to, and what the model's own files said."""

    spec: ModelSpec
    home: Path
    facts: Facts
    toml: Path | None = None

    def located(self) -> AbstractContextManager[None]:
        """Add file and line to an error about a key of the description, if it stands in a file."""
        return nullcontext() if self.toml is None else located(self.toml)

    def lines(self) -> Iterator[str]:
        """Yield what was found, each with where."""
        for key, place in self.facts.places.items():
            yield f"{key:<11} {_short(self.facts.values[key])} ({place})"
        yield from (f"note        {note}" for note in self.facts.notes)


def describe(what: str | Path, options: Mapping[str, Any] | None = None) -> Described:
    """Complete what an owner names by the model's own files.

    Args:
        what: A `model.toml`, `scheme:reference`, or a file or folder of a known kind.
        options: Values by the keys of a description; they override a `model.toml`. `classes` may be names with commas
            between them or a file of names, `preprocess` a TOML inline table without its braces; `set` is a list of any
            other keys as `KEY=VALUE`.

    Raises:
        ModelFileError: It is nothing that can be compiled, or lacks something; the message says what to do.
    """
    given = {key: value for key, value in (options or {}).items() if value is not None}
    given = _parsed(_settings(given.pop("set", ())) | given)
    path = Path(what)
    if path.suffix == TOML:
        description = _validated(dict(read_description(path)) | given)
        with located(path):
            return Described(*_complete(description, path.parent, path.resolve().parent.name), toml=path)
    found = recognize.recognize(str(what))
    described = Described(*_complete(_validated(found | given), Path(), _name(found)))
    for key in sorted(found.keys() - given.keys() - {"architecture", "weights"}):
        described.facts.add(key, found[key], f"{Path(found['weights']).name} hyper_parameters")
    return described


def _complete(description: Description, home: Path, name: str) -> tuple[ModelSpec, Path, Facts]:
    spec, facts = complete(description, home, name or "model")
    return spec, home, facts


def _name(found: Mapping[str, Any]) -> str:
    """Name a model after its file or folder, or as its library does."""
    parts = registry.split(found.get("architecture", ""))
    named = parts[1] if parts else found.get("architecture") or found["weights"]
    path = Path(named)
    return path.resolve().name if path.is_dir() else path.stem


def _validated(values: Mapping[str, Any]) -> Description:
    try:
        return Description.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise ModelFileError(f"{key}: {explain(first)} (--{key})") from error


def _parsed(given: dict[str, Any]) -> dict[str, Any]:
    """Read the options that are more than a string."""
    if isinstance(given.get("classes"), str):
        given["classes"] = read_labels(given["classes"])
    for key in ENTRIES:
        if isinstance(given.get(key), str) and given[key].isdigit():
            given[key] = int(given[key])
    if isinstance(given.get("preprocess"), str):
        given["preprocess"] = _table(PREPROCESS.get(given["preprocess"], given["preprocess"]))
    return given


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` as TOML; a value that is no TOML is a text."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or key not in Description.model_fields:
            raise ModelFileError(f"--set {text}: write KEY=VALUE with a key of model.toml: {', '.join(KEYS)}")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def _table(text: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(f"table = {{{text}}}")["table"]
    except tomllib.TOMLDecodeError as error:
        raise ModelFileError(
            f"preprocess: {text!r} is neither imagenet nor a list such as '{PREPROCESS['imagenet']}' (--preprocess)"
        ) from error
    return table


def _short(value: object) -> str:
    if isinstance(value, tuple | list) and len(value) > 3 and all(isinstance(each, str) for each in value):
        return f"{', '.join(value[:3])} and {len(value) - 3} more"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    fields = getattr(value, "model_dump", None)
    if fields and "steps" in fields(exclude_none=True):
        return f"steps {', '.join(str(step['step']) for step in fields()['steps'])}"
    if fields:
        return ", ".join(f"{key} {part}" for key, part in fields(exclude_none=True).items())
    return str(value)

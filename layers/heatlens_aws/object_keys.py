"""Names of objects: batch, file number and attempt <-> keys. No client's file name is ever part of one."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from heatlens.types import SUFFIXES

IN, DROP, OUT = "in/", "drop/", "out/"
ASYNC = "async/"  # where an asynchronous endpoint answers
REPLY = "reply/"  # answers that a door could not carry
_ID = "[0-9A-HJKMNP-TV-Z]{26}"
_DECLARED = re.compile(rf"in/({_ID})/([0-9]{{5}})")
_NAME_BYTES = 800  # leaves 224 for the rest of a key
MAP, RESULT = "map.npy", "result.json"
_PICTURES = {"overlay": "overlay", "heatmap": "map"}  # by what `include` calls them; the second is the coloured map


def is_batch_id(text: str) -> bool:
    """Whether a text could be a batch's id: a ULID as they are written here."""
    return re.fullmatch(_ID, text) is not None


def upload_key(batch: str, number: int) -> str:
    """Where a declared file is uploaded, once."""
    return f"{IN}{batch}/{number:05d}"


def parse_upload_key(key: str) -> tuple[str, int] | None:
    """Batch and file number of an upload key; `None` for any other key."""
    match = _DECLARED.fullmatch(key)
    return (match[1], int(match[2])) if match else None


def attempt_prefix(batch: str, number: int, attempt: str) -> str:
    """Where one attempt at a declared file writes; what is not committed there is never read."""
    return f"{OUT}{batch}/{number:05d}/{attempt}/"


def drop_prefix(key: str, version: str, attempt: str) -> str:
    """Where one attempt at an undeclared object writes: findable by whoever dropped it.

    A key too long to be encoded within S3's 1,024 bytes is replaced by its sha256 (hex).
    """
    name = quote(key.removeprefix(DROP), safe="")
    if len(name) > _NAME_BYTES:
        name = hashlib.sha256(key.encode()).hexdigest()
    return f"{OUT}drop/{name}/{quote(version, safe='')}/{attempt}/"


def reply_key(request_id: str) -> str:
    """Where an answer lies that was too large for its door; a request's id is the platform's, never a client's."""
    return f"{REPLY}{request_id}"


def picture_names(options: Mapping[str, Any]) -> dict[str, str]:
    """What `include` names of a batch's options -> the picture's object under an attempt, such as `overlay.png`."""
    suffix = SUFFIXES.get(options.get("format", "png"), "")
    return {asked: name + suffix for asked, name in _PICTURES.items() if asked in options["include"]}


def results_key(batch: str) -> str:
    """One line per file, in the order of their numbers."""
    return f"{OUT}{batch}/results.jsonl"


def manifest_key(batch: str) -> str:
    """What the batch came to, with every digest; written last."""
    return f"{OUT}{batch}/manifest.json"

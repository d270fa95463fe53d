"""Build and parse object keys from batch, file number and attempt; a client's file name is never part of one."""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from heatlens.types import SUFFIXES

IN, DROP, OUT = "in/", "drop/", "out/"
ASYNC = "async/"  # responses of an asynchronous endpoint
REPLY = "reply/"  # responses too large for the API
_ID = "[0-9A-HJKMNP-TV-Z]{26}"
_DECLARED = re.compile(rf"{IN}([ib])/({_ID})/([0-9]{{5}})")
_NAME_BYTES = 800  # leaves 224 for the rest of a key
MAP, RESULT = "map.npy", "result.json"
_PICTURES = {"overlay": "overlay", "heatmap": "map"}  # by their names in `include`; the second is the colored map


class Lane(StrEnum):
    """The queue that a file waits in: S3 chooses it by the prefix of the key."""

    INTERACTIVE = "interactive"  # declared batches of few files
    BULK = "bulk"  # larger batches, dropped objects and backfills

    @classmethod
    def of_batch(cls, files: int, *, interactive_files: int) -> Self:
        """Choose the lane of a batch by the files that it may have at most."""
        return cls.INTERACTIVE if files <= interactive_files else cls.BULK

    @property
    def prefix(self) -> str:
        """The prefix of the uploads of its batches."""
        return f"{IN}{self.value[0]}/"


class UploadName(NamedTuple):
    """What the key of an upload says."""

    lane: Lane
    batch: str
    number: int


_LANES = {lane.value[0]: lane for lane in Lane}


def is_batch_id(text: str) -> bool:
    """Return whether a text could be a batch's id, a ULID in capitals."""
    return re.fullmatch(_ID, text) is not None


def upload_prefix(lane: Lane, batch: str) -> str:
    """Return the prefix of a batch's uploads."""
    return f"{lane.prefix}{batch}/"


def upload_key(lane: Lane, batch: str, number: int) -> str:
    """Return the key of a declared file's upload, which is written once."""
    return f"{upload_prefix(lane, batch)}{number:05d}"


def parse_upload_key(key: str) -> UploadName | None:
    """Return lane, batch and file number of an upload key, or `None` for any other key."""
    match = _DECLARED.fullmatch(key)
    return UploadName(_LANES[match[1]], match[2], int(match[3])) if match else None


def attempt_prefix(batch: str, number: int, attempt: str) -> str:
    """Return the prefix of one attempt at a declared file; objects of an uncommitted attempt are never read."""
    return f"{OUT}{batch}/{number:05d}/{attempt}/"


def drop_prefix(key: str, version: str, attempt: str) -> str:
    """Return the prefix of one attempt at an undeclared object, which its uploader can find by the object's key.

    A key too long to be encoded within S3's 1,024 bytes is replaced by its sha256 (hex).
    """
    name = quote(key.removeprefix(DROP), safe="")
    if len(name) > _NAME_BYTES:
        name = hashlib.sha256(key.encode()).hexdigest()
    return f"{OUT}drop/{name}/{quote(version, safe='')}/{attempt}/"


def batch_prefixes(batch: str) -> tuple[str, ...]:
    """Return every prefix below which objects of a batch may lie: uploads, results and an endpoint's responses."""
    return (*(upload_prefix(lane, batch) for lane in Lane), f"{OUT}{batch}/", f"{ASYNC}{batch}/")


def reply_key(request_id: str) -> str:
    """Return the key of a response too large for the API; the request id is the platform's, never a client's."""
    return f"{REPLY}{request_id}"


def picture_names(options: Mapping[str, Any]) -> dict[str, str]:
    """Map each picture that a batch's `include` names to its object under an attempt, such as `overlay.png`."""
    suffix = SUFFIXES.get(options.get("format", "png"), "")
    return {included: name + suffix for included, name in _PICTURES.items() if included in options["include"]}


def dicom_names(options: Mapping[str, Any]) -> dict[str, str]:
    """Map each kind of DICOM object that a batch's options name to its object under an attempt."""
    return {kind: f"heatmap.{kind}.dcm" for kind in options.get("dicom", ())}


def results_key(batch: str) -> str:
    """Return the key of the results, one line per file in the order of their numbers."""
    return f"{OUT}{batch}/results.jsonl"


def manifest_key(batch: str) -> str:
    """Return the key of the manifest, which has every digest and is written last."""
    return f"{OUT}{batch}/manifest.json"

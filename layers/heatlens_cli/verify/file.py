"""One file of a manifest and the objects of its attempt -> what does not agree."""

import hashlib
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from heatlens_aws.object_keys import MAP, RESULT, attempt_prefix, picture_names, upload_key
from heatlens_cli.verify.manifest import Committed, Document, Manifest, ManifestFile

Read = Callable[[str], bytes | None]  # key -> bytes, or nothing where there is no such object

OVERLAY = "overlay.png"  # of batches before there were other formats
WRONG_DIGEST = "input.digest"  # the upload is not what was declared, so its digest is no fault


def file_faults(manifest: Manifest, file: ManifestFile, read: Read) -> list[str]:
    """What is wrong with one file."""
    if file.state == "OK":
        found = _result_faults(manifest, file, read)
    elif file.state == "FAILED":
        found = _failure_faults(manifest, file, read)
    else:
        found = ["it has no end"] if file.state in ("PENDING", "SUBMITTED") else []
        found += [f"{file.state} with an outcome"] if file.outcome else []
    return [f"file {file.number}: {fault}" for fault in found]


def differs(what: str, data: bytes | None, sha256: str) -> list[str]:
    """Whether an object is there as it was committed."""
    if data is None:
        return [f"{what} is missing"]
    return [] if hashlib.sha256(data).hexdigest() == sha256 else [f"{what} is not what was committed"]


def _result_faults(manifest: Manifest, file: ManifestFile, read: Read) -> list[str]:
    try:
        committed = Committed.model_validate(file.outcome)
    except ValidationError as error:
        return [f"its outcome is that of no result: {error.errors()[0]['loc'][0]}"]
    wanted, objects = {MAP, RESULT}, dict(committed.objects)
    if "include" in manifest.options:
        wanted |= set(picture_names(manifest.options).values())
    else:
        wanted |= objects.keys() & {OVERLAY}  # nobody knows
    found = [f"{name} is not among its objects" for name in sorted(wanted - objects.keys())]
    found += [f"{name} is none of its objects" for name in sorted(objects.keys() - wanted)]
    prefix, document = attempt_prefix(manifest.batch, file.number, committed.attempt), None
    for name in sorted(objects.keys() & wanted):
        data = read(prefix + name)
        found += differs(name, data, objects[name])
        document = data if name == RESULT else document
    return found + (_document_faults(manifest, file, committed, document) if document is not None else [])


def _document_faults(manifest: Manifest, file: ManifestFile, committed: Committed, data: bytes) -> list[str]:
    try:
        said = Document.model_validate_json(data)
    except ValidationError as error:
        return [f"{RESULT} cannot be read: {error.errors()[0]['loc']}"]
    others = {name: sha256 for name, sha256 in committed.objects.items() if name != RESULT}
    pairs: list[tuple[str, Any, Any]] = [
        ("sha256", file.sha256, said.input.sha256),
        ("label", committed.label, said.prediction.label),
        ("probability", committed.probability, said.prediction.probability),
        ("quality", committed.quality, said.quality),
        ("objects", others, said.objects),
        ("model", manifest.model, said.model.sha256),
    ]
    pairs += [
        (f"option {name}", value, said.options[name])
        for name, value in manifest.options.items()
        if name in said.options
    ]
    return [f"{name} is {here!r}, {RESULT} says {there!r}" for name, here, there in pairs if here != there]


def _failure_faults(manifest: Manifest, file: ManifestFile, read: Read) -> list[str]:
    code = file.outcome.get("code")
    if not isinstance(code, str):
        return ["it failed without a code"]
    # Uploads expire long before results do: one that is gone says nothing.
    upload = None if code == WRONG_DIGEST else read(upload_key(manifest.batch, file.number))
    if upload is not None and hashlib.sha256(upload).hexdigest() != file.sha256:
        return [f"its upload is not what was declared, and it failed with {code}"]
    return []

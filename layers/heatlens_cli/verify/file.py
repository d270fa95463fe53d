"""Compare one file of a manifest with the objects of its attempt."""

import hashlib
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from heatlens_aws.object_keys import MAP, RESULT, attempt_prefix, dicom_names, picture_names, upload_key
from heatlens_cli.verify.manifest import Committed, Document, Manifest, ManifestFile

Read = Callable[[str], bytes | None]  # returns the bytes of a key, or None if it does not exist

OVERLAY = "overlay.png"  # of batches from before `format` existed
WRONG_DIGEST = "input.digest"  # the upload differs from the declaration, so its digest is no fault


def file_faults(manifest: Manifest, file: ManifestFile, read: Read) -> list[str]:
    """List the faults of one file."""
    if file.state == "OK":
        faults = _result_faults(manifest, file, read)
    elif file.state == "FAILED":
        faults = _failure_faults(manifest, file, read)
    else:
        faults = ["it has not ended"] if file.state in ("PENDING", "SUBMITTED") else []
        faults += [f"{file.state} with an outcome"] if file.outcome else []
    return [f"file {file.number}: {fault}" for fault in faults]


def differs(what: str, data: bytes | None, sha256: str) -> list[str]:
    """List how an object differs from what was committed."""
    if data is None:
        return [f"{what} is missing"]
    return [] if hashlib.sha256(data).hexdigest() == sha256 else [f"{what} is not what was committed"]


def _result_faults(manifest: Manifest, file: ManifestFile, read: Read) -> list[str]:
    try:
        committed = Committed.model_validate(file.outcome)
    except ValidationError as error:
        return [f"its outcome is not that of a result: {error.errors()[0]['loc'][0]}"]
    expected, objects = {MAP, RESULT, *dicom_names(manifest.options).values()}, dict(committed.objects)
    if "include" in manifest.options:
        expected |= set(picture_names(manifest.options).values())
    else:
        expected |= objects.keys() & {OVERLAY}  # the options do not say which
    faults = [f"{name} is not among its objects" for name in sorted(expected - objects.keys())]
    faults += [f"{name} is none of its objects" for name in sorted(objects.keys() - expected)]
    prefix, document = attempt_prefix(manifest.batch, file.number, committed.attempt), None
    for name in sorted(objects.keys() & expected):
        data = read(prefix + name)
        faults += differs(name, data, objects[name])
        document = data if name == RESULT else document
    return faults + (_document_faults(manifest, file, committed, document) if document is not None else [])


def _document_faults(manifest: Manifest, file: ManifestFile, committed: Committed, data: bytes) -> list[str]:
    try:
        document = Document.model_validate_json(data)
    except ValidationError as error:
        return [f"{RESULT} cannot be read: {error.errors()[0]['loc']}"]
    others = {name: sha256 for name, sha256 in committed.objects.items() if name != RESULT}
    pairs: list[tuple[str, Any, Any]] = [
        ("sha256", file.sha256, document.input.sha256),
        ("label", committed.label, document.prediction.label),
        ("probability", committed.probability, document.prediction.probability),
        ("quality", committed.quality, document.quality),
        ("familiarity", committed.familiarity, document.familiarity),
        ("objects", others, document.objects),
        ("model", manifest.model, document.model.sha256),
    ]
    pairs += [
        (f"option {name}", value, document.options[name])
        for name, value in manifest.options.items()
        if name in document.options
    ]
    return [f"{name} is {here!r}, {RESULT} says {there!r}" for name, here, there in pairs if here != there]


def _failure_faults(manifest: Manifest, file: ManifestFile, read: Read) -> list[str]:
    code = file.outcome.get("code")
    if not isinstance(code, str):
        return ["it failed without a code"]
    # Uploads expire long before results: a missing one proves nothing.
    upload = None if code == WRONG_DIGEST else read(upload_key(manifest.lane, manifest.batch, file.number))
    if upload is not None and hashlib.sha256(upload).hexdigest() != file.sha256:
        return [f"its upload is not what was declared, and it failed with {code}"]
    return []

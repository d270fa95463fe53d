"""A batch's manifest and its bucket -> whether what the manifest says is there, byte for byte."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape

from functions.cli.files import err, out
from heatlens.errors import HeatlensError

Read = Callable[[str], bytes | None]  # key -> bytes, or nothing where there is no such object


_S3 = "s3://"


class NoManifest(HeatlensError):
    """There is nothing to verify."""


def faults(manifest: dict[str, Any], read: Read) -> list[str]:
    """What is wrong with a finished batch; nothing means that every digest and every count is as written.

    Args:
        manifest: The parsed `manifest.json`.
        read: Reads an object of the batch's bucket.
    """
    files = manifest["files"]
    counts = dict(Counter(file["state"] for file in files))
    found = [] if counts == manifest["counts"] else [f"counted {counts}, the manifest says {manifest['counts']}"]
    if [file["number"] for file in files] != list(range(len(files))):
        found.append("the files are not numbered from 0 without a gap")
    results = read(manifest["results"]["key"])
    found += _differs("results.jsonl", results, manifest["results"]["sha256"])
    if results is not None and len(results.splitlines()) != len(files):
        found.append(f"results.jsonl has {len(results.splitlines())} lines for {len(files)} files")
    for file in files:
        if file["state"] == "OK":
            found += _object_faults(manifest["batch"], file, read)
    return found


def _object_faults(batch: str, file: dict[str, Any], read: Read) -> list[str]:
    outcome = file["outcome"]
    prefix = f"out/{batch}/{file['number']:05d}/{outcome['attempt']}/"
    found: list[str] = []
    for name, sha256 in outcome["objects"].items():
        found += _differs(f"file {file['number']}: {name}", read(prefix + name), sha256)
    return found


def _differs(what: str, data: bytes | None, sha256: str) -> list[str]:
    if data is None:
        return [f"{what} is missing"]
    return [] if hashlib.sha256(data).hexdigest() == sha256 else [f"{what} is not what was committed"]


def verify_manifest(address: str) -> int:
    """Check a finished batch and print what is wrong with it.

    Args:
        address: `s3://BUCKET/KEY`, or a path; the objects beside a path lie as the keys in the bucket do.

    Returns:
        The exit status: 0 if everything is as written, else 1.

    Raises:
        NoManifest: It cannot be read.
    """
    raw, read = _from_s3(address) if address.startswith(_S3) else _from_disk(Path(address))
    try:
        manifest = json.loads(raw)
        found = faults(manifest, read)
    except (ValueError, KeyError, TypeError) as error:
        raise NoManifest(f"{address} is not a manifest of a batch") from error
    for fault in found:
        err.print(escape(fault))
    if not found:
        out.print(f"{manifest['batch']}: {len(manifest['files'])} files as written: {manifest['counts']}")
    return int(bool(found))


def _from_disk(path: Path) -> tuple[bytes, Read]:
    def read(key: str) -> bytes | None:
        target = root / key
        return target.read_bytes() if target.is_file() else None

    root = path.resolve().parents[2]  # above out/BATCH/manifest.json
    try:
        return path.read_bytes(), read
    except OSError as error:
        raise NoManifest(f"{path}: {error.strerror}") from error


def _from_s3(address: str) -> tuple[bytes, Read]:
    from botocore.exceptions import BotoCoreError, ClientError

    from heatlens.settings import read_table
    from heatlens_aws.clients import connect
    from heatlens_aws.settings import AwsSettings

    bucket, _, key = address.removeprefix(_S3).partition("/")
    s3 = connect(read_table(AwsSettings)).s3

    def read(key: str) -> bytes | None:
        try:
            data: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            # Without the right to list, a missing key is answered as forbidden.
            if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
                return None
            raise
        return data

    try:
        raw = read(key)
    except (BotoCoreError, ClientError) as error:
        raise NoManifest(f"{address} cannot be read: {type(error).__name__}") from error
    if raw is None:
        raise NoManifest(f"{address} does not exist, or may not be read")
    return raw, read

"""Check that all objects of a finished batch agree with its manifest, byte for byte.

This finds damage and contradictions, but not forgery: anyone with write access to the bucket can rewrite all of it.
File names are in no other document, so a changed name is not detected.
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from heatlens.settings import read_table
from heatlens_cli.console import complain, say
from heatlens_cli.extras import requires_extra
from heatlens_cli.sources import why_unreadable
from heatlens_cli.verify.file import Read, differs, file_faults
from heatlens_cli.verify.manifest import Manifest, ManifestFile, NoManifest

THREADS = 8
_S3 = "s3://"


def faults(manifest: Manifest, read: Read) -> list[str]:
    """List the faults of a finished batch; none means that its documents and objects agree.

    Args:
        manifest: The parsed `manifest.json`.
        read: Reads an object of the batch's bucket; called from several threads.
    """
    files = manifest.files
    counts = dict(Counter(file.state for file in files))
    found = [] if counts == manifest.counts else [f"counted {counts}, the manifest says {manifest.counts}"]
    if [file.number for file in files] != list(range(len(files))):
        found.append("the files are not numbered from 0 without a gap")
    if manifest.results.key != manifest.results_key:
        found.append(f"its results are not {manifest.results.key}")
    results = read(manifest.results_key)
    found += differs("results.jsonl", results, manifest.results.sha256)
    found += _line_faults(files, results) if results is not None else []
    with ThreadPoolExecutor(THREADS) as pool:
        for of_one in pool.map(lambda file: file_faults(manifest, file, read), files):
            found += of_one
    return found


def verify_manifest(address: str) -> int:
    """Check a finished batch and print its faults.

    Args:
        address: `s3://BUCKET/KEY`, or a path; the objects must lie around the path as their keys do in the bucket.

    Returns:
        The exit status: 0 if everything agrees, else 1.

    Raises:
        MissingExtra: The address is in S3 and the extra aws is not installed.
        NoManifest: The manifest cannot be read.
    """
    raw, read = _from_s3(address) if address.startswith(_S3) else _from_disk(Path(address))
    manifest = Manifest.parse(raw, address)
    place = address if address.startswith(_S3) else Path(address).resolve().as_posix()
    if not place.endswith(f"/{manifest.key}"):
        raise NoManifest(f"{address} is the manifest of {manifest.batch}: it must lie as in the bucket, {manifest.key}")
    found = faults(manifest, read)
    for fault in found:
        complain(fault)
    if not found:
        say(f"{manifest.batch}: {len(manifest.files)} files as written: {manifest.counts}")
    return int(bool(found))


def _line_faults(files: list[ManifestFile], results: bytes) -> list[str]:
    """List the differences between the manifest and `results.jsonl`."""
    lines = results.splitlines()
    if len(lines) != len(files):
        return [f"results.jsonl has {len(lines)} lines for {len(files)} files"]
    found: list[str] = []
    for file, line in zip(files, lines, strict=True):
        here = {"number": file.number, "state": file.state} | file.outcome
        there = _parsed(line)
        found += [
            f"file {file.number}: {name} is {here.get(name)!r}, results.jsonl says {there.get(name)!r}"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
    return found


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _from_disk(path: Path) -> tuple[bytes, Read]:
    def read(key: str) -> bytes | None:
        try:
            return (root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise NoManifest(f"{root / key}: {error.strerror}") from error

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise NoManifest(f"{path}: {error.strerror}") from error
    root = path.resolve().parent.parent.parent  # above out/BATCH/manifest.json
    return raw, read


def _from_s3(address: str) -> tuple[bytes, Read]:
    with requires_extra("aws", "verify of an s3:// address"):
        from heatlens_aws.clients import FAILURES, connect
    from heatlens_aws.settings import AwsSettings

    bucket, _, key = address.removeprefix(_S3).partition("/")

    def read(key: str) -> bytes | None:
        try:
            data: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except FAILURES as error:
            if reason := why_unreadable(s3, bucket, key, error):
                raise NoManifest(f"{_S3}{bucket}/{key} cannot be read: {reason}") from error
            return None
        return data

    try:
        s3 = connect(read_table(AwsSettings)).s3
    except FAILURES as error:
        raise NoManifest(f"{address} cannot be read: {type(error).__name__}") from error
    raw = read(key) if key else None
    if raw is None:
        raise NoManifest(f"{address} does not exist")
    return raw, read
